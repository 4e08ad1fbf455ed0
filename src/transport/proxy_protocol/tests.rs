use proptest::prelude::*;

use super::*;

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[kind][..], &length, value].concat()
}

fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, body].concat()
}

/// 192.0.2.7:1234 to 198.51.100.1:5061.
const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x04, 0xd2, 0x13, 0xc5];

fn v6(source: Ipv6Addr) -> Vec<u8> {
    [
        &source.octets()[..],
        &Ipv6Addr::LOCALHOST.octets(),
        &[0x04, 0xd2, 0x13, 0xc5],
    ]
    .concat()
}

fn ssl(client: u8, verify: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(
        TLV_SSL,
        &[&[client][..], &verify.to_be_bytes(), &parts.concat()].concat(),
    )
}

fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Broken> {
    parse(bytes, Some(0xe1))
}

fn whole(bytes: &[u8]) -> Result<Header, &'static str> {
    match read(bytes) {
        Ok(Some((header, end))) => {
            assert_eq!(end, bytes.len());
            Ok(header)
        }
        Ok(None) => Err("unfinished"),
        Err(Broken(why)) => Err(why),
    }
}

fn from(text: &str) -> Origin {
    Origin::From(text.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))))
}

/// With the checksum in its place.
fn summed(body: &[u8]) -> Vec<u8> {
    let mut bytes = header(0x21, 0x11, &[&V4[..], &tlv(TLV_CRC32C, &[0; 4]), body].concat());
    let at = FIXED + V4.len() + 3;
    let sum = crc32c(&bytes, at).to_be_bytes();
    bytes[at..at + 4].copy_from_slice(&sum);
    bytes
}

#[test]
fn addresses_of_both_families() {
    assert_eq!(
        whole(&header(0x21, 0x11, &V4)).map(|h| h.origin),
        Ok(from("192.0.2.7:1234"))
    );
    let six = |text: &str| whole(&header(0x21, 0x21, &v6(text.parse().unwrap_or(Ipv6Addr::UNSPECIFIED))));
    assert_eq!(six("2001:db8::7").map(|h| h.origin), Ok(from("[2001:db8::7]:1234")));
    assert_eq!(six("::ffff:192.0.2.7").map(|h| h.origin), Ok(from("192.0.2.7:1234")));
    for no_host in ["::", "ff02::1", "::ffff:224.0.0.1", "::ffff:0.0.0.0"] {
        assert_eq!(
            six(no_host),
            Err("its source is no address of a single host"),
            "{no_host}"
        );
    }
}

#[test]
fn health_checks_and_untold_addresses() {
    assert_eq!(whole(&header(0x20, 0x00, &[])).map(|h| h.origin), Ok(Origin::Own));
    let forged = [&V4[..], &ssl(3, 0, &[tlv(SSL_CN, b"b.example")])].concat();
    let own = Header {
        origin: Origin::Own,
        tls: None,
    };
    assert_eq!(whole(&header(0x20, 0x11, &forged)), Ok(own), "LOCAL carries nothing");
    let untold = whole(&header(0x21, 0x00, &ssl(1, 0, &[])));
    assert!(untold.is_ok_and(|h| h.origin == Origin::Untold && h.tls.is_some()));
}

#[test]
fn what_it_says_of_tls() {
    let parts = [
        tlv(SSL_VERSION, b"TLSv1"),
        tlv(SSL_CN, b"b.example"),
        tlv(SSL_CIPHER, b"AES128-SHA\x1b"),
        tlv(0x2f, b"later"),
    ];
    let body = [
        &V4[..],
        &tlv(0x05, b"id"),
        &ssl(7, 0, &parts),
        &tlv(0xe1, b"0der"),
        &tlv(0xee, b""),
    ]
    .concat();
    let wanted = ReportedTls {
        shown_now: true,
        shown_before: true,
        verify: 0,
        version: "TLSv1".into(),
        cipher: "AES128-SHA\\x1b".into(),
        common_name: Some(Box::from(&b"b.example"[..])),
        certificate: Some(Box::from(&b"0der"[..])),
    };
    assert_eq!(whole(&header(0x21, 0x11, &body)).map(|h| h.tls), Ok(Some(wanted)));
    let tls = |field: Vec<u8>| whole(&header(0x21, 0x11, &[&V4[..], &field].concat())).map(|h| h.tls);
    assert_eq!(tls(ssl(0, 0, &parts)), Ok(None), "no TLS, whatever else it says");
    assert!(tls(ssl(5, 10, &parts)).is_ok_and(|t| t.is_some_and(|t| !t.shown_now && t.shown_before && t.verify == 10)));
    assert!(tls(ssl(3, 0x0102_0304, &[])).is_ok_and(|t| t.is_some_and(|t| t.verify == 0x0102_0304)));
    assert_eq!(
        tls(tlv(0xe1, b"0der")),
        Ok(None),
        "a certificate without TLS is nothing"
    );
}

#[test]
fn what_is_wrong_is_refused() {
    let fields = |fields: &[Vec<u8>]| header(0x21, 0x11, &[&V4[..], &fields.concat()].concat());
    let cn = || tlv(SSL_CN, b"b.example");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 5061\r\n".to_vec(),
            "it is version 1, which cannot tell of TLS; write send-proxy-v2-ssl-cn",
        ),
        (
            b"PRO".to_vec(),
            "it is version 1, which cannot tell of TLS; write send-proxy-v2-ssl-cn",
        ),
        (
            b"OPTIONS sip:a.example SIP/2.0\r\n".to_vec(),
            "something else comes first",
        ),
        (b"\x16\x03\x01".to_vec(), "something else comes first"),
        (header(0x11, 0x11, &V4), "its version is not 2"),
        (header(0x22, 0x11, &V4), "its command is neither LOCAL nor PROXY"),
        (header(0x21, 0x12, &V4), "it is for datagrams"),
        (header(0x21, 0x31, &[0; 216]), "its addresses are those of Unix sockets"),
        (header(0x21, 0x41, &V4), "its address family is unknown"),
        (header(0x21, 0x10, &V4), "its address family is unknown"),
        (header(0x21, 0x11, &V4[..11]), "it is too short for its addresses"),
        (header(0x21, 0x21, &[1; 35]), "it is too short for its addresses"),
        (
            header(0x21, 0x11, &[&V4[..], &[0x20, 0]].concat()),
            "a field is cut off",
        ),
        (
            header(0x21, 0x11, &[&V4[..], &[0x20, 0, 9, 1]].concat()),
            "a field is cut off",
        ),
        (
            fields(&[tlv(TLV_SSL, &[1, 0, 0, 0])]),
            "it is too short for what it tells of TLS",
        ),
        (fields(&[ssl(1, 0, &[]), ssl(3, 0, &[cn()])]), "it tells of TLS twice"),
        (fields(&[ssl(3, 0, &[cn(), cn()])]), "it has two common names"),
        (fields(&[ssl(3, 0, &[vec![SSL_CN, 0, 200]])]), "a field is cut off"),
        (
            fields(&[ssl(3, 0, &[]), tlv(0xe1, b"0"), tlv(0xe1, b"1")]),
            "it has two certificates",
        ),
        (fields(&[tlv(TLV_CRC32C, &[1, 2, 3, 4])]), "its checksum is wrong"),
        (fields(&[tlv(TLV_CRC32C, &[1, 2, 3])]), "its checksum is no checksum"),
        (
            fields(&[tlv(TLV_CRC32C, &[0; 4]), tlv(TLV_CRC32C, &[0; 4])]),
            "it has two checksums",
        ),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(whole(&bytes), Err(wanted), "{}", bytes.escape_ascii());
    }
    let long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(whole(&long), Err("it is too long"), "before it has come");
}

#[test]
fn the_checksum_is_checked() {
    // The check value of CRC-32C.
    assert_eq!(crc32c(b"123456789", usize::MAX - 4), 0xe306_9283);
    let good = summed(&ssl(3, 0, &[tlv(SSL_CN, b"b.example")]));
    assert!(whole(&good).is_ok());
    // Its own type byte apart: then there is none.
    let its_type = FIXED + V4.len();
    for at in (FIXED..good.len()).filter(|at| *at != its_type) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(whole(&bad) != whole(&good), "byte {at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read(&header(0x21, 0x11, &[&V4[..], &bytes].concat()));
        let _ = read(&header(0x21, 0x21, &[&v6(Ipv6Addr::LOCALHOST)[..], &ssl(7, 0, &[bytes])].concat()));
    }

    #[test]
    fn the_pieces_it_comes_in_do_not_matter(name in proptest::collection::vec(any::<u8>(), 0..80), behind in proptest::collection::vec(any::<u8>(), 0..80)) {
        let bytes = summed(&ssl(3, 0, &[tlv(SSL_CN, &name)]));
        let all = [&bytes[..], &behind].concat();
        for cut in 0..bytes.len() {
            prop_assert_eq!(read(&all[..cut]), Ok(None), "{}", cut);
        }
        for cut in bytes.len()..=all.len() {
            let (header, end) = read(&all[..cut]).ok().flatten().unwrap_or((Header { origin: Origin::Own, tls: None }, 0));
            prop_assert_eq!(end, bytes.len());
            prop_assert_eq!(header.tls.and_then(|t| t.common_name), Some(Box::from(&name[..])));
        }
    }
}
