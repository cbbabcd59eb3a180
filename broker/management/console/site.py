"""The console as a web site: lets people in, finds their page, and does what forms ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote

import structlog

from broker.management.console.actions import FORMS
from broker.management.console.asking import AnswerRefused, Asker
from broker.management.console.form_data import fields_of, require_form
from broker.management.console.page_stream import PageStream, around_page
from broker.management.console.pages import PAGES
from broker.management.console.rendering import Rendering
from broker.management.console.rights import closed_pages
from broker.management.console.routes import Paths, Visit
from broker.management.console.sessions import COOKIE, ConsoleSession, Drafts, Sessions
from broker.management.http.api import Api, require_same_site
from broker.management.http.call import JSON, MAX_BODY, Call, HttpAnswer, HttpCaller, HttpRefusal, empty

_log = structlog.get_logger(__name__)

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
_HTML: Final = "text/html; charset=utf-8"
_ASK_AGAIN: Final = 10.0
"""Seconds after which it is asked again whether a user may still log in."""
_CARBON: Final = {
    "/carbon": "/",
    "/carbon/admin/login.jsp": "/login",
    "/carbon/admin/index.jsp": "/",
    "/carbon/andes-cluster-mgt/nodesList.jsp": "/nodes",
    "/carbon/queues/add_queue.jsp": "/queues",
    "/carbon/queues/queue_details.jsp": "/queues",
    "/carbon/queues/dlc_messages_list.jsp": "/dead-letters",
    "/carbon/topics/topics.jsp": "/exchanges",
    "/carbon/userstore/index.jsp": "/users",
    "/carbon/user/user-mgt.jsp": "/users",
    "/carbon/role/role-mgt.jsp": "/roles",
    "/carbon/subscriptions/queue_subscriptions_list.jsp": "/subscriptions",
    "/carbon/subscriptions/topic_subscriptions_list.jsp": "/subscriptions",
}
"""Where the bookmarks of WSO2's console lead."""


class Console:
    """Serves people's browsers."""

    def __init__(
        self,
        api: Api,
        prefix: str,
        monotonic: Callable[[], float],
        now_ms: Callable[[], int],
        again: Callable[[HttpCaller], HttpCaller | None],
        new_secret: Callable[[], str],
    ) -> None:
        """`prefix` stands before all paths. `again` returns who has logged in as it is now: with the tags of now, None
        for a user that is gone. `new_secret` returns letters and digits that nobody can guess.
        """
        self._api = api
        self._prefix = prefix
        self._monotonic = monotonic
        self._again = again
        self.sessions: Final = Sessions(monotonic, new_secret)
        self._drafts = Drafts()
        self._rendering = Rendering(prefix, now_ms)
        self._paths = Paths(PAGES, FORMS)
        self._live = PageStream(api.node, self._paths, self._rendering, self._may_stay)

    async def handle(self, call: Call) -> HttpAnswer:
        """Serve one request: that of the API, a file, or a page."""
        if not call.path.startswith(self._prefix):
            return self._page("error.html", {"status": 404, "reason": "There is no such page."}, None, 404)
        path = call.path[len(self._prefix) :] or "/"
        if path == "/api" or path.startswith("/api/"):
            return await self._api.handle(call)
        try:
            return await self._serve(call, path)
        except HttpRefusal as refusal:
            return self._page("error.html", {"status": refusal.status, "reason": str(refusal)}, None, refusal.status)
        except Exception as error:
            _log.error("internal error of the console", method=call.method, path=call.path, exc_info=error)
            return self._page("error.html", {"status": 500, "reason": "The log says what has failed."}, None, 500)

    async def _serve(self, call: Call, path: str) -> HttpAnswer:
        if call.method not in ("GET", "HEAD", "POST"):
            raise HttpRefusal(405, "method_not_allowed", "Pages are read, and forms are sent.")
        if path.startswith("/static/"):
            return self._file(path.removeprefix("/static/"))
        if path.startswith("/carbon"):
            return self._go(_CARBON.get(path.removesuffix("/"), "/"))
        call.require_texts()
        name = _cookie(call)
        session = self._session(name)
        if session is not None:
            call.let_in(session.caller)  # whose connection is not one of a stranger, who would have to make room
        if path == "/login":
            return await self._log_in(call) if call.method == "POST" else self._login_page(call, "")
        if session is None:
            if call.method == "POST" or "x-live" in call.headers or path == "/live":
                raise HttpRefusal(401, "not_authorised", "The session is over: log in again.")
            return self._go(f"/login?next={quote(path, safe='')}")
        ask = Asker(self._api, self._prefix, session.caller, call.address, call.is_loopback)
        if call.method == "POST":
            return await self._send(call, path, session, ask, name)
        if path == "/live":
            return self._live.answer(call, name, session.caller, ask)
        return await self._show(call, path, session, ask, name)

    # People

    def _may_stay(self, name: str) -> HttpCaller | None:
        """Return who watches with a session, as long as it lasts."""
        session = self._session(name)
        return None if session is None else session.caller

    def _session(self, name: str) -> ConsoleSession | None:
        session = self.sessions.find(name)
        if session is None:
            return None
        now = self._monotonic()
        if now - session.asked >= _ASK_AGAIN:
            session.asked = now
            caller = self._again(session.caller)
            if caller is None or not caller.may_manage:
                self.sessions.end(name)
                return None
            session.caller = caller
        return session

    def _login_page(self, call: Call, reason: str, status: int = 200) -> HttpAnswer:
        values = {"reason": reason, "next": call.query.get("next", "/"), "name": ""}
        return self._page("login.html", values, None, status)

    async def _log_in(self, call: Call) -> HttpAnswer:
        require_same_site(call)
        fields = await _fields(call)
        name, password = fields.get("name", ""), fields.get("password", "")
        try:
            caller = await self._api.login.log_in(
                name, password, "console", address=call.address, is_loopback=call.is_loopback
            )
        except HttpRefusal as refusal:
            if refusal.status != 401:
                raise
            reason = "The name or the password is wrong."
            if not call.is_loopback:
                reason += " Default passwords are good on the node's own machine only."
            values = {"reason": reason, "next": fields.get("next", "/"), "name": name}
            return self._page("login.html", values, None, 401)
        if not caller.may_manage:
            values = {
                "reason": f"The user {name} has none of the tags administrator, monitoring, policymaker, management.",
                "next": "/",
                "name": name,
            }
            return self._page("login.html", values, None, 403)
        answer = self._go(_own_path(fields.get("next", "/")))
        answer.headers["Set-Cookie"] = self._set_cookie(self.sessions.begin(caller), call)
        return answer

    def _set_cookie(self, value: str, call: Call) -> str:
        ends = "" if value else "; Max-Age=0"
        secure = "; Secure" if call.is_tls else ""
        return f"{COOKIE}={value}; Path={self._prefix or '/'}; HttpOnly; SameSite=Strict{secure}{ends}"

    # Pages and forms

    async def _show(self, call: Call, path: str, session: ConsoleSession, ask: Asker, name: str) -> HttpAnswer:
        session.closed_pages = await closed_pages(self._api.node, session.caller)
        found = self._paths.page(path)
        if found is None:
            return self._page("error.html", {"status": 404, "reason": "There is no such page."}, session, 404, path)
        page, names = found
        try:
            values = await page.make(Visit(ask, self._api.node, names, call.query, self._drafts.of(name)))
        except AnswerRefused as refusal:
            status = 403 if refusal.status == 401 else refusal.status
            return self._page("error.html", {"status": status, "reason": str(refusal)}, session, status, path)
        if "download" in values:
            return _download(*values["download"])
        values["notice"] = None if "x-live" in call.headers else session.take_notice()
        values["silent"] = sorted(ask.silent)
        return self._page(page.template, values, session, 200, path)

    async def _send(self, call: Call, path: str, session: ConsoleSession, ask: Asker, name: str) -> HttpAnswer:
        require_same_site(call)
        found = self._paths.form(path)
        fields = await _fields(call, MAX_BODY if found is None else found[0].limit)
        if not session.knows(fields.pop("mark", "")):
            raise HttpRefusal(403, "forbidden", "The form is not one of this session: load the page again.")
        if path == "/logout":
            self.sessions.end(name)
            answer = self._go("/login")
            answer.headers["Set-Cookie"] = self._set_cookie("", call)
            return answer
        if found is None:
            raise HttpRefusal(404, "not_found", "There is no such form.")
        form, names = found
        try:
            said, goes_to = await form.do(Visit(ask, self._api.node, names, fields, self._drafts.of(name)))
        except KeyError as error:
            raise HttpRefusal(400, "bad_request", f"The form has no field {error}.") from None
        except AnswerRefused as refusal:
            session.notice = ("refused", str(refusal))
            return self._go(_own_path(fields.get("back", "/")))
        session.notice = ("done", said)
        return self._go(_own_path(goes_to))

    # Answers

    def _page(
        self, template: str, values: Mapping[str, object], session: ConsoleSession | None, status: int, path: str = "/"
    ) -> HttpAnswer:
        caller, mark = (None, "") if session is None else (session.caller, session.mark)
        closed = frozenset[str]() if session is None else session.closed_pages
        body = self._rendering.page(template, {**around_page(self._api.node, caller, mark, path, closed), **values})
        return HttpAnswer(status, body, dict(HEADERS), _HTML)

    def _file(self, name: str) -> HttpAnswer:
        content, kind = self._rendering.files.get(name, (b"", ""))
        if not kind:
            raise HttpRefusal(404, "not_found", "There is no such file.")
        if kind.startswith("text/"):
            kind += "; charset=utf-8"
        return HttpAnswer(200, content, dict(_FOR_EVER), kind)

    def _go(self, path: str) -> HttpAnswer:
        answer = empty(303)
        answer.headers = {**HEADERS, "Location": f"{self._prefix}{path}"}
        return answer


def _download(name: str, octets: bytes) -> HttpAnswer:
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return HttpAnswer(200, octets, headers, JSON)


def _cookie(call: Call) -> str:
    try:
        cookies = SimpleCookie(call.headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


async def _fields(call: Call, limit: int = MAX_BODY) -> dict[str, str]:
    kind = call.headers.get("content-type", "")
    require_form(kind)
    return fields_of(kind, await call.read_body(limit))


def _own_path(path: str) -> str:
    """Return a path of this site; that of the start page for any other address."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_own else "/"
