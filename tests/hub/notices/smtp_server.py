"""A small SMTP server on loopback, with STARTTLS and AUTH, that keeps what it is given."""

import base64
import contextlib
import email
import email.policy
import socket
import ssl
import threading


class SmtpServer:
    """Takes mail from anybody; `refuse` answers the given verb with a line instead."""

    def __init__(self, certificate=None, password=None):
        self.mails = []
        self.secure = []
        self.refuse = {}
        self._certificate = certificate
        self._password = password

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ended = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self):
        while not self._ended:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            line.settimeout(10)
            with contextlib.ExitStack() as stack:
                stack.enter_context(contextlib.suppress(OSError, EOFError, ValueError))
                stack.enter_context(line)
                self._talk(line, stack)

    def _talk(self, line, stack):
        line.sendall(b"220 test ESMTP\r\n")
        reader, secure, known = line.makefile("rb"), False, self._password is None
        while words := reader.readline():
            verb = words.split(b" ")[0].strip().upper().decode()
            if verb in self.refuse:
                line.sendall(self.refuse[verb])
                if self.refuse[verb].startswith(b"421"):
                    return
            elif verb in {"EHLO", "HELO"}:
                line.sendall(self._greeting(secure=secure))
            elif verb == "STARTTLS":
                line.sendall(b"220 go\r\n")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self._certificate)
                line = stack.enter_context(context.wrap_socket(line, server_side=True))
                reader, secure = line.makefile("rb"), True
            elif verb == "AUTH":
                given = base64.b64decode(words.split()[2]).split(b"\0")[2].decode()
                known = given == self._password
                line.sendall(b"235 welcome\r\n" if known else b"535 who?\r\n")
            elif verb == "DATA":
                line.sendall(b"354 go\r\n")
                raw = b""
                while (text := reader.readline()) != b".\r\n":
                    raw += text[1:] if text.startswith(b".") else text
                self.mails.append(email.message_from_bytes(raw, policy=email.policy.default))
                self.secure.append(secure)
                line.sendall(b"250 taken\r\n")
            elif verb == "QUIT":
                line.sendall(b"221 bye\r\n")
                return
            else:
                line.sendall(b"250 fine\r\n" if known else b"530 log in first\r\n")

    def _greeting(self, *, secure):
        lines = ["test"]
        lines += ["STARTTLS"] if self._certificate and not secure else []
        lines += ["AUTH PLAIN"] if self._password else []
        return "".join(
            f"250{' ' if n == len(lines) - 1 else '-'}{text}\r\n" for n, text in enumerate(lines)
        ).encode()
