#!/usr/bin/env python3
"""A headless pidgin-sipe: libpurple with no user interface, driven by lines on stdin, telling events as JSON on stdout.

There is no Rust binding of libpurple and this crate forbids unsafe code, so Python's ctypes does it. Needs the Debian
packages libpurple0 and pidgin-sipe, no display and no D-Bus.

    client.py HOME USER SERVER TRANSPORT PASSWORD [CERTIFICATE]

HOME is a directory of its own; what libpurple logs, with every SIP message, goes to HOME/wire.log. CERTIFICATE (PEM) is
trusted for the server's host. Commands:

    add ADDRESS            put somebody on the contact list and watch
    remove ADDRESS         take somebody off it
    buddy ADDRESS          tell what is known of somebody
    status NAME [NOTE]     available, busy, away, do-not-disturb, be-right-back, ...
    im ADDRESS TEXT        send a message
    typing ADDRESS 0|1     tell somebody that one types, or has stopped
    quit                   sign out and end
"""
import ctypes
import json
import os
import sys
import time
from ctypes import CFUNCTYPE, c_char_p, c_int, c_size_t, c_uint, c_void_p

READ, WRITE = 1, 2
G_IN, G_OUT, G_ERR, G_HUP, G_NVAL = 1, 4, 8, 16, 32
PLUGIN = "/usr/lib/purple-2/libsipe.so"
PROTOCOL = b"prpl-sipe"


def call(library, name, result, *arguments):
    """A C function with its types."""
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    return function


class Events:
    """Writes events; file descriptors 1 and 2 belong to libpurple from here on."""

    def __init__(self, log):
        self.out = os.fdopen(os.dup(1), "w", buffering=1)
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)

    def tell(self, event, **fields):
        self.out.write(json.dumps({"event": event, "at": round(time.time(), 3), **fields}) + "\n")
        self.out.flush()


class Loop:
    """The event loop that libpurple wants, on GLib's."""

    InputAdd = CFUNCTYPE(c_uint, c_int, c_int, c_void_p, c_void_p)
    Input = CFUNCTYPE(None, c_void_p, c_int, c_int)
    Watch = CFUNCTYPE(c_int, c_void_p, c_int, c_void_p)

    class Ops(ctypes.Structure):
        _fields_ = [
            (name, c_void_p)
            for name in (
                "timeout_add", "timeout_remove", "input_add", "input_remove", "input_get_error",
                "timeout_add_seconds", "reserved2", "reserved3", "reserved4",
            )
        ]

    def __init__(self, glib):
        self.glib = glib
        self.kept = {}
        self.channel = call(glib, "g_io_channel_unix_new", c_void_p, c_int)
        self.unref = call(glib, "g_io_channel_unref", None, c_void_p)
        self.add_watch = call(glib, "g_io_add_watch", c_uint, c_void_p, c_int, self.Watch, c_void_p)
        self.main = call(glib, "g_main_loop_new", c_void_p, c_void_p, c_int)(None, 0)
        self._add = self.InputAdd(self.input_add)
        pointer = lambda f: ctypes.cast(f, c_void_p)
        self.ops = self.Ops(
            pointer(glib.g_timeout_add), pointer(glib.g_source_remove), pointer(self._add),
            pointer(glib.g_source_remove), None, pointer(glib.g_timeout_add_seconds), None, None, None,
        )

    def watch(self, fd, condition, function):
        callback = self.Watch(lambda _channel, got, _data: function(got))
        channel = self.channel(fd)
        source = self.add_watch(channel, condition, callback, None)
        self.unref(channel)
        self.kept[source] = callback
        return source

    def input_add(self, fd, condition, function, data):
        target = self.Input(function)
        wanted = G_ERR | G_HUP | G_NVAL
        wanted |= G_IN if condition & READ else 0
        wanted |= G_OUT if condition & WRITE else 0

        def ready(got):
            seen = READ if got & (G_IN | G_HUP | G_ERR) else 0
            seen |= WRITE if got & (G_OUT | G_ERR) else 0
            target(data, fd, (seen & condition) or condition)
            return 1

        return self.watch(fd, wanted, ready)

    def run(self):
        call(self.glib, "g_main_loop_run", None, c_void_p)(self.main)

    def quit_in(self, milliseconds):
        once = CFUNCTYPE(c_int, c_void_p)(lambda _: self.quit())
        self.kept["quit"] = once
        call(self.glib, "g_timeout_add", c_uint, c_uint, c_void_p, c_void_p)(
            milliseconds, ctypes.cast(once, c_void_p), None
        )

    def quit(self):
        call(self.glib, "g_main_loop_quit", None, c_void_p)(self.main)
        return 0


def repair_xml(sipe):
    """With libxml2 2.9.14 the plugin reads no XML at all: its handler table is marked as SAX2 and holds only the older
    callbacks. The mark stands in the plugin's writable data; it is taken off. Returns whether XML can be read."""
    parse = call(sipe, "sipe_xml_parse", c_void_p, c_char_p, c_size_t)
    if parse(b"<a/>", 4):
        return True
    mark = (0xDEEDBEAF).to_bytes(4, "little")
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for fields in lines:
        if len(fields) > 5 and fields[5].endswith("libsipe.so") and "w" in fields[1]:
            low, high = (int(part, 16) for part in fields[0].split("-"))
            memory = ctypes.string_at(low, high - low)
            at = memory.find(mark)
            while at >= 0:
                c_uint.from_address(low + at).value = 1
                at = memory.find(mark, at + 4)
    return bool(parse(b"<a/>", 4))


class Client:
    def __init__(self, home, user, server, transport, password, certificate):
        self.events = Events(os.path.join(home, "wire.log"))
        glib = ctypes.CDLL("libglib-2.0.so.0", mode=ctypes.RTLD_GLOBAL)
        self.purple = ctypes.CDLL("libpurple.so.0", mode=ctypes.RTLD_GLOBAL)
        self.loop = Loop(glib)
        self.kept = []
        self.handle = c_int(0)
        if certificate:
            self.trust(home, server, certificate)
        self.start(home)
        self.sipe = ctypes.CDLL(PLUGIN)
        if not repair_xml(self.sipe):
            self.fail("the plugin reads no XML")
        self.account = self.open_account(user, server, transport, password)
        self.listen()
        self.pending = b""
        self.loop.watch(0, G_IN | G_HUP, self.on_stdin)
        self.p("purple_account_set_enabled", None, c_void_p, c_char_p, c_int)(self.account, b"trestle", 1)
        available = self.p("purple_savedstatus_new", c_void_p, c_char_p, c_int)(None, 2)
        self.p("purple_savedstatus_activate", None, c_void_p)(available)
        self.events.tell("started")

    def p(self, name, result, *arguments):
        return call(self.purple, name, result, *arguments)

    def fail(self, why):
        self.events.tell("fatal", why=why)
        sys.exit(1)

    def trust(self, home, server, certificate):
        """libpurple asks its user about certificates it does not know; a client without one would wait for ever. What is
        in this pool under the host's name it does not ask about."""
        pool = os.path.join(home, "certificates", "x509", "tls_peers")
        os.makedirs(pool, exist_ok=True)
        host = server.rsplit(":", 1)[0].strip("[]")
        with open(certificate) as source, open(os.path.join(pool, host), "w") as target:
            target.write(source.read())

    def start(self, home):
        self.p("purple_util_set_user_dir", None, c_char_p)(home.encode())
        self.p("purple_debug_set_enabled", None, c_int)(1)
        self.p("purple_debug_set_unsafe", None, c_int)(1)
        self.p("purple_eventloop_set_ui_ops", None, c_void_p)(ctypes.byref(self.loop.ops))
        if not self.p("purple_core_init", c_int, c_char_p)(b"trestle"):
            self.fail("libpurple does not start")
        self.p("purple_set_blist", None, c_void_p)(self.p("purple_blist_new", c_void_p)())
        self.p("purple_blist_load", None)()
        self.p("purple_prefs_load", None)()
        if not self.p("purple_find_prpl", c_void_p, c_char_p)(PROTOCOL):
            self.fail("libpurple does not find pidgin-sipe")

    def open_account(self, user, server, transport, password):
        account = self.p("purple_account_new", c_void_p, c_char_p, c_char_p)(f"{user},".encode(), PROTOCOL)
        self.p("purple_account_set_password", None, c_void_p, c_char_p)(account, password.encode())
        self.p("purple_account_set_remember_password", None, c_void_p, c_int)(account, 1)
        text = self.p("purple_account_set_string", None, c_void_p, c_char_p, c_char_p)
        for key, value in (("server", server), ("transport", transport), ("authentication", "ntlm")):
            text(account, key.encode(), value.encode())
        # No calendar is asked for free and busy times.
        self.p("purple_account_set_bool", None, c_void_p, c_char_p, c_int)(account, b"dont-publish", 1)
        self.p("purple_accounts_add", None, c_void_p)(account)
        return account

    def on(self, source, signal, function, *types):
        callback = CFUNCTYPE(None, *types)(function)
        self.kept.append(callback)
        handle = self.p(source, c_void_p)()
        self.p("purple_signal_connect", c_uint, c_void_p, c_char_p, c_void_p, c_void_p, c_void_p)(
            handle, signal.encode(), ctypes.byref(self.handle), ctypes.cast(callback, c_void_p), None
        )

    def listen(self):
        tell = self.events.tell
        text = lambda b: b.decode("utf-8", "replace") if b else ""
        connections, talks, buddies = (
            "purple_connections_get_handle", "purple_conversations_get_handle", "purple_blist_get_handle",
        )
        self.on(connections, "signed-on", lambda *_: tell("signed-on"), c_void_p, c_void_p)
        self.on(connections, "signed-off", lambda *_: tell("signed-off"), c_void_p, c_void_p)
        self.on(connections, "connection-error", lambda _c, code, why, _d: tell("connection-error", code=code, why=text(why)),
                c_void_p, c_int, c_char_p, c_void_p)
        self.on(talks, "received-im-msg", lambda _a, who, body, *_: tell("im", sender=text(who), text=text(body)),
                c_void_p, c_char_p, c_char_p, c_void_p, c_int, c_void_p)
        self.on(talks, "buddy-typing", lambda _a, who, _d: tell("typing", sender=text(who)), c_void_p, c_char_p, c_void_p)
        self.on(talks, "buddy-typing-stopped", lambda _a, who, _d: tell("typing-stopped", sender=text(who)),
                c_void_p, c_char_p, c_void_p)
        name = self.p("purple_buddy_get_name", c_char_p, c_void_p)
        status = self.p("purple_status_get_id", c_char_p, c_void_p)
        self.on(buddies, "buddy-status-changed",
                lambda buddy, _old, new, _d: tell("status", name=text(name(buddy)), status=text(status(new))),
                c_void_p, c_void_p, c_void_p, c_void_p)
        self.on(buddies, "buddy-added", lambda buddy, _d: tell("added", name=text(name(buddy))), c_void_p, c_void_p)
        self.on(buddies, "buddy-removed", lambda buddy, _d: tell("removed", name=text(name(buddy))), c_void_p, c_void_p)

    def core(self):
        connection = self.p("purple_account_get_connection", c_void_p, c_void_p)(self.account)
        return self.p("purple_connection_get_protocol_data", c_void_p, c_void_p)(connection) if connection else None

    def find(self, who):
        return self.p("purple_find_buddy", c_void_p, c_void_p, c_char_p)(self.account, who.encode())

    def do_add(self, who):
        group = self.p("purple_find_group", c_void_p, c_char_p)(b"Buddies") or self.p(
            "purple_group_new", c_void_p, c_char_p)(b"Buddies")
        buddy = self.p("purple_buddy_new", c_void_p, c_void_p, c_char_p, c_char_p)(self.account, who.encode(), None)
        self.p("purple_blist_add_buddy", None, c_void_p, c_void_p, c_void_p, c_void_p)(buddy, None, group, None)
        self.p("purple_account_add_buddy", None, c_void_p, c_void_p)(self.account, buddy)

    def do_remove(self, who):
        buddy = self.find(who)
        if buddy:
            group = self.p("purple_buddy_get_group", c_void_p, c_void_p)(buddy)
            self.p("purple_account_remove_buddy", None, c_void_p, c_void_p, c_void_p)(self.account, buddy, group)
            self.p("purple_blist_remove_buddy", None, c_void_p)(buddy)

    def do_buddy(self, who):
        buddy = self.find(who)
        if not buddy:
            return self.events.tell("buddy", name=who, known=False)
        presence = self.p("purple_buddy_get_presence", c_void_p, c_void_p)(buddy)
        active = self.p("purple_presence_get_active_status", c_void_p, c_void_p)(presence)
        status = self.p("purple_status_get_id", c_char_p, c_void_p)(active)
        online = self.p("purple_presence_is_online", c_int, c_void_p)(presence)
        self.events.tell("buddy", name=who, known=True, status=status.decode(), online=bool(online))

    def do_status(self, which, *note):
        self.p("purple_account_set_status", None, c_void_p, c_char_p, c_int, c_char_p, c_char_p, c_void_p)(
            self.account, which.encode(), 1, b"message", " ".join(note).encode(), None
        )

    def do_im(self, who, *words):
        call(self.sipe, "sipe_core_im_send", None, c_void_p, c_char_p, c_char_p)(
            self.core(), who.encode(), " ".join(words).encode()
        )

    def do_typing(self, who, on):
        call(self.sipe, "sipe_core_user_feedback_typing", None, c_void_p, c_char_p, c_int)(
            self.core(), who.encode(), int(on)
        )

    def do_quit(self):
        self.p("purple_account_set_enabled", None, c_void_p, c_char_p, c_int)(self.account, b"trestle", 0)
        self.loop.quit_in(500)

    def command(self, line):
        words = line.split(" ")
        action = getattr(self, "do_" + words[0], None)
        if not action:
            return self.events.tell("error", why=f"there is no command {words[0]}")
        try:
            action(*words[1:])
        except Exception as error:  # the test shall see it, whatever it is
            self.events.tell("error", why=repr(error))

    def on_stdin(self, _got):
        data = os.read(0, 4096)
        if not data:
            self.do_quit()
            return 0
        self.pending += data
        while b"\n" in self.pending:
            line, self.pending = self.pending.split(b"\n", 1)
            self.command(line.decode())
        return 1


def main():
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    client = Client(*sys.argv[1:6], sys.argv[6] if len(sys.argv) == 7 else "")
    client.loop.run()
    client.events.tell("ended")


main()
