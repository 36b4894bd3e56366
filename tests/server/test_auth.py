"""Who gets in: tokens and their scopes, browser sessions, other sites' pages, guesses and names."""

from __future__ import annotations

import time

import pytest
import requests

from tests.servers import Serving
from tests.store.conftest import Filler
from trackkit.backend.server.api.table import ENDPOINTS, PREFIX
from trackkit.backend.server.config import ServerConfig, UnsafeBind, check_bind, is_loopback
from trackkit.backend.server.routing import Endpoint
from trackkit.backend.store.tokens import Scope

CLOSED = [endpoint for endpoint in ENDPOINTS if endpoint.scope is not None]
SCOPES: dict[Scope, int] = {"read": 0, "write": 1, "admin": 2}


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def send(server: Serving, endpoint: Endpoint, headers: dict[str, str]) -> requests.Response:
    path = endpoint.path.replace(":path", "")
    for name in endpoint.parameters:
        path = path.replace(f"{{{name}}}", "x")
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(
            endpoint.method, f"{server.address}{PREFIX}{path}", headers=headers, timeout=10, stream=True
        )
        answer.close()
        return answer


def test_no_endpoint_answers_without_a_token(guarded: Serving) -> None:
    for endpoint in CLOSED:
        assert send(guarded, endpoint, {"x-trackkit-csrf": "x"}).status_code == 401, endpoint


def test_every_endpoint_asks_for_its_scope(guarded: Serving) -> None:
    for scope, rank in SCOPES.items():
        headers = bearer(guarded.token(scope=scope))
        for endpoint in CLOSED:
            refused = send(guarded, endpoint, headers).status_code == 403

            assert refused == (endpoint.scope is not None and rank < SCOPES[endpoint.scope]), (scope, endpoint)


def test_changes_need_more_than_a_loopback_address(server: Serving, fill: Filler) -> None:
    fill.run("r")

    foreign = requests.patch(f"{server.address}/api/v1/runs/r", json={"notes": "hacked"}, timeout=10)

    assert foreign.status_code == 403
    assert "x-trackkit-csrf" in foreign.json()["error"]["message"]
    assert server.ask("PATCH", "/runs/r", json={"notes": "mine"}).status_code == 200


def test_a_browser_logs_in_changes_things_and_logs_out(guarded: Serving, fill: Filler) -> None:
    fill.run("r")
    assert guarded.get("/session")["authenticated"] is False

    state = guarded.ask("POST", "/session", json={"token": guarded.token("ada")}).json()
    cookie = next(iter(guarded.session.cookies))

    assert (state["name"], state["scope"], state["authenticated"]) == ("ada", "write", True)
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    assert guarded.ask("PATCH", "/runs/r", json={"notes": "x"}).status_code == 403  # as another site would send it
    headers = {"x-trackkit-csrf": state["csrf"]}
    assert guarded.ask("PATCH", "/runs/r", json={"notes": "x"}, headers=headers).status_code == 200
    assert guarded.ask("DELETE", "/session", headers=headers).status_code == 204
    guarded.session.cookies.set_cookie(cookie)
    assert guarded.ask("GET", "/runs").status_code == 401


def test_a_revoked_token_ends_its_sessions(guarded: Serving) -> None:
    admin = bearer(guarded.token("root", "admin"))
    made = guarded.ask("POST", "/tokens", json={"name": "ci", "scope": "read"}, headers=admin).json()
    guarded.ask("POST", "/session", json={"token": made["secret"]})
    assert guarded.ask("GET", "/runs").status_code == 200

    revoked = guarded.ask("DELETE", f"/tokens/{made['token']['id']}", headers=admin)

    assert revoked.status_code == 204
    assert guarded.ask("GET", "/runs").status_code == 401
    assert guarded.ask("GET", "/runs", headers=bearer(made["secret"])).status_code == 401


def test_an_expired_token_is_worth_nothing(guarded: Serving) -> None:
    secret = guarded.token(expires=time.time() - 1)

    answer = guarded.ask("GET", "/runs", headers=bearer(secret))

    assert answer.status_code == 401
    assert "expired" in answer.json()["error"]["message"]


@pytest.mark.sqlite
def test_secrets_are_neither_kept_nor_shown(guarded: Serving) -> None:
    admin = guarded.token("root", "admin")

    listed = guarded.ask("GET", "/tokens", headers=bearer(admin))

    assert [token["name"] for token in listed.json()["tokens"]] == ["root"]
    assert admin not in listed.text
    assert admin.encode() not in (guarded.config.root / "trackkit.db").read_bytes()


def test_a_token_for_a_project_sees_no_other(guarded: Serving, fill: Filler) -> None:
    ours, theirs = fill.run("ours", project="a"), fill.run("theirs", project="b")
    for number in (ours, theirs):
        fill.series(number, "loss", [1.0])
    headers = bearer(guarded.token(projects=["a"]))

    def ask(method: str, path: str, **arguments: object) -> requests.Response:
        return guarded.ask(method, path, headers=headers, **arguments)

    assert [each["name"] for each in ask("GET", "/projects").json()["projects"]] == ["a"]
    assert [run["id"] for run in ask("GET", "/runs").json()["runs"]] == ["ours"]
    assert [run["id"] for run in ask("GET", "/search?q=the").json()["runs"]] == []
    for path in ("", "/console", "/files", "/files/x", "/alerts", "/texts?key=x", "/known"):
        assert ask("GET", f"/runs/theirs{path}").status_code == 404, path
    assert ask("GET", "/columns?project=b").status_code == 404
    assert ask("PATCH", "/runs/theirs", json={"notes": "x"}).status_code == 404
    assert ask("DELETE", "/runs/theirs").status_code == 404
    assert ask("POST", "/runs/actions", json={"action": "delete", "runs": ["theirs"]}).status_code == 404
    move = {"action": "move", "runs": ["ours"], "project": "b"}
    assert ask("POST", "/runs/actions", json=move).status_code == 404
    assert b'"series":[]' in ask("GET", "/panel", params={"spec": '{"keys":["loss"],"runs":["theirs"]}'}).content


def test_every_endpoint_hides_a_run_of_another_project(guarded: Serving, fill: Filler) -> None:
    fill.series(fill.run("theirs", project="b"), "loss", [1.0])
    guarded.ask("PUT", "/views/x", json={"project": "b", "name": "v", "content": {}}, headers=bearer(guarded.token()))
    headers = bearer(guarded.token(projects=["a"]))
    named = [endpoint for endpoint in CLOSED if "run" in endpoint.parameters and endpoint.raw is None]
    assert len(named) > 10

    for endpoint in named:
        path = endpoint.path.replace("{run}", "theirs").replace("{path:path}", "x").replace("{writer}", "w")
        body = {"json": {}} if endpoint.body is not None else {}
        needed = {"/texts": {"key": "loss"}, "/distribution": {"layer": "x"}}
        params = needed.get(f"/{endpoint.path.rpartition('/')[2]}", {})

        answer = guarded.ask(endpoint.method, path, headers=headers, params=params, **body)

        assert answer.status_code in (403, 404), endpoint
        assert "loss" not in answer.text
    for method, path in (("GET", "/columns"), ("GET", "/values"), ("GET", "/views")):
        answer = guarded.ask(method, path, params={"project": "b", "key": "config.x"}, headers=headers)
        assert answer.status_code in (400, 404), path
    mine = {"project": "a", "name": "v", "content": {}}
    assert guarded.ask("PUT", "/views/x", json=mine, headers=headers).status_code == 404
    assert guarded.ask("DELETE", "/views/x", headers=headers).status_code == 404
    groups = guarded.ask("GET", "/groups", params={"by": "project"}, headers=headers).json()["groups"]
    assert groups == []


def test_whoever_administers_some_projects_gives_out_no_more(guarded: Serving) -> None:
    everyone, other = guarded.token("everyone", "admin"), guarded.token("other", "read", projects=["b"])
    headers = bearer(guarded.token("some", "admin", projects=["a", "b2"]))

    def create(projects: list[str] | None) -> requests.Response:
        body = {"name": "new", "scope": "admin", "projects": projects}
        return guarded.ask("POST", "/tokens", json=body, headers=headers)

    for projects in (None, ["b"], ["a", "b"]):
        refused = create(projects)
        assert refused.status_code == 403
        assert "some projects alone" in refused.json()["error"]["message"]
    made = create(["a"])
    assert made.status_code == 201
    listed = guarded.ask("GET", "/tokens", headers=headers).json()["tokens"]
    assert [token["name"] for token in listed] == ["some", "new"]
    for token in guarded.ask("GET", "/tokens", headers=bearer(everyone)).json()["tokens"]:
        revoked = guarded.ask("DELETE", f"/tokens/{token['id']}", headers=headers).status_code
        assert revoked == (404 if token["name"] in ("everyone", "other") else 204 if token["name"] == "some" else 401)
    assert guarded.ask("GET", "/runs", headers=bearer(other)).status_code == 200


def test_one_wrong_token_locks_out_nobody_who_was_let_in_before(guarded: Serving) -> None:
    known = guarded.token()
    assert guarded.ask("GET", "/runs", headers=bearer(known)).status_code == 200
    for _ in range(20):
        guarded.ask("GET", "/runs", headers=bearer("tk_wrong"))

    assert guarded.ask("GET", "/runs", headers=bearer(known)).status_code == 200
    assert guarded.ask("GET", "/runs", headers=bearer(guarded.token("new"))).status_code == 429

    with guarded.services.storage.changing() as db:
        db.execute("delete from tokens")
    assert guarded.ask("GET", "/runs", headers=bearer(known)).status_code == 401
    assert guarded.ask("GET", "/runs", headers=bearer(known)).status_code == 429


def test_guessing_tokens_is_slowed_down(guarded: Serving) -> None:
    good = guarded.token()
    for _ in range(10):
        assert guarded.ask("GET", "/runs", headers=bearer("tk_guess")).status_code == 401

    answer = guarded.ask("GET", "/runs", headers=bearer("tk_guess"))

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert guarded.ask("POST", "/session", json={"token": good}).status_code == 429


def test_a_name_that_leads_here_by_rebinding_is_not_answered(server: Serving) -> None:
    for host in ("evil.example.org", "localhost.evil.example.org", "", "127.0.0.1.nip.io:80"):
        answer = server.session.get(f"{server.address}/api/v1/runs", headers={"host": host}, timeout=10)
        assert answer.status_code in (400, 421), host

    for path, host in (("/api/v1/runs", "LOCALHOST:1"), ("/health", "10.0.0.7")):  # load balancers ask by address
        answer = server.session.get(f"{server.address}{path}", headers={"host": host}, timeout=10)
        assert answer.status_code == 200, host


def test_every_answer_forbids_what_browsers_might_do(server: Serving) -> None:
    for path in ("/health", "/docs", "/api/v1/runs", "/api/v1/nothing", "/api/v1/runs/nobody"):
        headers = server.session.get(server.address + path, timeout=10).headers

        assert "default-src 'self'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_an_open_address_without_tokens_is_refused() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "gpu-box"):
        with pytest.raises(UnsafeBind, match="add --auth"):
            check_bind(host, auth=False)
        check_bind(host, auth=True)
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        check_bind(host, auth=False)
        assert is_loopback(host)


def test_further_names_are_allowed_by_name(root: object) -> None:
    config = ServerConfig("s", root, host="0.0.0.0", allowed_hosts=("Track.Example.org",))  # type: ignore[arg-type]

    assert "track.example.org" in config.hosts()
    assert "0.0.0.0" not in config.hosts()
