"""The ways out: mail over SMTP, and robots of DingTalk and WeCom groups by their webhooks.

Each either says that it went out, or raises: Unavailable when it definitely did not and may be tried again,
RuleViolation when it never will, OutcomeUnknown when nobody can tell. Sources: RFC 5321; DingTalk "custom robot" and
WeCom "group robot" webhooks.
"""

import base64
import hashlib
import hmac
import json
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final, Protocol
from urllib.parse import quote_plus, unquote, urlsplit

from services.chassis.errors import OutcomeUnknown, RuleViolation, Unavailable
from services.chassis.settings import SettingsError, required
from services.notify.domain.notices import Channel
from services.notify.usecases.deliveries import Outgoing

# Longest wait for a mail server or a robot, in seconds; shorter than the sweep's heartbeat.
TIMEOUT_S: Final = 10.0
# The vendors' own hosts; a webhook elsewhere could be anything inside the network.
ROBOT_HOSTS: Final = {Channel.DINGTALK: "oapi.dingtalk.com", Channel.WECOM: "qyapi.weixin.qq.com"}
# DingTalk and WeCom: too many messages in a minute; later it is taken.
BUSY_CODES: Final = (45009, 130101, 660026)


class Way(Protocol):
    """One way out."""

    def __call__(self, outgoing: Outgoing) -> None:
        """Send it; raises Unavailable, RuleViolation or OutcomeUnknown."""


class Mail:
    """Send mail through one server.

    url: smtp://[USER:PASSWORD@]HOST[:PORT] (STARTTLS where it is offered) or smtps://. sender: address it comes from.
    """

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise SettingsError("SMTP_URL is not smtp://HOST:PORT or smtps://HOST:PORT")
        self._host, self._secure = parts.hostname, parts.scheme == "smtps"
        self._port = parts.port or (465 if self._secure else 587)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender = sender

    def __call__(self, outgoing: Outgoing) -> None:
        """Send one mail; its Message-ID is the delivery's, so that whoever looks can tell a repeat."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._sender, outgoing.address, _one_line(outgoing.title)
        if outgoing.reply_to:
            mail["Reply-To"] = outgoing.reply_to
        mail["Date"] = formatdate()
        mail["Message-ID"] = f"<{outgoing.delivery_ids[0]}@{self._sender.rpartition('@')[2]}>"
        mail.set_content(outgoing.text)
        try:
            server = self._connect()
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable("MAIL_UNAVAILABLE", "邮件服务器不可用", "The mail server is away") from error
        with _closing(server):
            self._address(server, outgoing.address)
            try:
                code, _ = server.data(mail.as_bytes())
            except smtplib.SMTPDataError as error:
                code = error.smtp_code
            except (OSError, smtplib.SMTPException) as error:
                raise OutcomeUnknown("MAIL_UNKNOWN", "邮件是否发出未知", "No answer to a mail") from error
            _check(code)

    def _connect(self) -> smtplib.SMTP:
        kind = smtplib.SMTP_SSL if self._secure else smtplib.SMTP
        server = kind(self._host, self._port, timeout=TIMEOUT_S)
        server.ehlo()
        if not self._secure and server.has_extn("starttls"):
            server.starttls()
            server.ehlo()
        if self._user:
            server.login(self._user, self._password)
        return server

    def _address(self, server: smtplib.SMTP, receiver: str) -> None:
        try:
            for code, _ in (server.mail(self._sender), server.rcpt(receiver)):
                _check(code)
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable("MAIL_UNAVAILABLE", "邮件服务器不可用", "The mail server is away") from error


class Robots:
    """Speak in groups through their robots.

    hosts: where each channel's webhooks are; for tests another machine than the vendor's. now: seconds since 1970.
    """

    def __init__(
        self, hosts: Mapping[Channel, str] = ROBOT_HOSTS, now: Callable[[], float] = time.time
    ) -> None:
        self._hosts = hosts
        self._now = now

    def __call__(self, outgoing: Outgoing) -> None:
        """Say it in the group."""
        check_robot(outgoing.channel, outgoing.url, self._hosts)
        url = outgoing.url
        if outgoing.secret:
            url = signed(url, outgoing.secret, round(self._now() * 1000))
        body = {"msgtype": "text", "text": {"content": f"{outgoing.title}\n{outgoing.text}"}}
        request = urllib.request.Request(  # noqa: S310 - the address was checked
            url, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8"}
        )
        try:
            with _DIRECT.open(request, timeout=TIMEOUT_S) as response:
                answer: dict[str, Any] = json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise _refused(f"HTTP {error.code}") if error.code < 500 else _robot_away() from error
        except urllib.error.URLError as error:
            # Not connected, or not all of the request left.
            raise _robot_away() from error
        except (OSError, ValueError) as error:
            raise OutcomeUnknown("ROBOT_UNKNOWN", "机器人消息是否发出未知", "No answer of a robot") from error
        code = answer.get("errcode")
        if code in BUSY_CODES:
            raise _robot_away()
        if code != 0:
            raise _refused(f"{code} {answer.get('errmsg', '')}")


def read_ways(environ: Mapping[str, str]) -> Mapping[Channel, Way]:
    """Return the channels of an environment.

    Mail needs SMTP_URL and MAIL_FROM; without SMTP_URL there is none. Raises SettingsError naming the variable.
    """
    robots = Robots()
    ways: dict[Channel, Way] = {Channel.DINGTALK: robots, Channel.WECOM: robots}
    if url := environ.get("SMTP_URL", ""):
        ways[Channel.MAIL] = Mail(url, required(environ, "MAIL_FROM"))
    return ways


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it would lead past the check of the host."""

    def redirect_request(self, *_: object) -> None:
        return None


_DIRECT: Final = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def signed(url: str, secret: str, timestamp_ms: int) -> str:
    """Return a webhook's address with DingTalk's signature: HMAC-SHA256 over the time and the secret, by the secret."""
    digest = hmac.new(secret.encode(), f"{timestamp_ms}\n{secret}".encode(), hashlib.sha256).digest()
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}timestamp={timestamp_ms}&sign={quote_plus(base64.b64encode(digest))}"


def check_robot(channel: Channel, url: str, hosts: Mapping[Channel, str] = ROBOT_HOSTS) -> None:
    """Raise RuleViolation ROBOT_ADDRESS unless a webhook is at its vendor."""
    parts, host = urlsplit(url), hosts.get(channel, "")
    local = host.startswith("127.0.0.1:")
    if not host or parts.netloc != host or parts.scheme != ("http" if local else "https"):
        raise RuleViolation(
            "ROBOT_ADDRESS",
            "机器人地址应以 https://{host}/ 开头",
            "A robot's address is at https://{host}/",
            host=host,
        )


def _check(code: int) -> None:
    if 400 <= code < 500:
        raise Unavailable("MAIL_UNAVAILABLE", "邮件服务器暂时拒收", "The mail server refuses for now")
    if code >= 500:
        raise RuleViolation(
            "MAIL_REFUSED", "邮件被拒收（{code}）", "The mail was refused ({code})", code=code
        )


def _refused(why: str) -> RuleViolation:
    return RuleViolation("ROBOT_REFUSED", "机器人拒收（{why}）", "The robot refused it ({why})", why=why)


def _robot_away() -> Unavailable:
    return Unavailable("ROBOT_UNAVAILABLE", "机器人暂不可用", "The robot is away")


def _one_line(text: str) -> str:
    """Return a text as a header may have it."""
    return " ".join(text.split())


class _closing:  # noqa: N801 - used like a function
    """Take leave of a mail server; whether it answers that changes nothing."""

    def __init__(self, server: smtplib.SMTP) -> None:
        self._server = server

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        try:
            self._server.quit()
        except (OSError, smtplib.SMTPException):
            self._server.close()
