"""Takes a token through its life cycle with the generated client."""

import base64
import os

import httpx
from generated import AuthenticatedClient
from generated.api.administration import approve_token, list_tokens
from generated.api.tokens import change_token, create_token, get_token, list_own_tokens, revoke_token, rotate_token
from generated.models import ApproveTokenXAtlassianToken, ChangeRequest, CreateRequest, Error, Rate, RotateRequest, State
from generated.types import UNSET

jira = os.environ["JIRA"]
base = jira + "/rest/api-tokens/latest"


def password(user, secret):
    return AuthenticatedClient(base, base64.b64encode(f"{user}:{secret}".encode()).decode(), prefix="Basic")


def status(value):
    return httpx.get(jira + "/rest/api/2/myself", headers={"Authorization": "Bearer " + value}).status_code


bot = AuthenticatedClient(base, os.environ["BOT"])

made = create_token.sync(client=bot, body=CreateRequest(
    label="generated", user="fred", expires_in="30d", networks=["10.0.0.0/8"], rate=Rate(requests=600, per_seconds=60)))
assert made.user == "fred" and made.state == State.ACTIVE and made.expires_at > 2**31, made.state
assert status(made.password_value) == 200
print("create")

page = list_tokens.sync(client=bot, user="fred", state=State.ACTIVE, limit=10)
assert [t.id for t in page.values] == [made.id] and page.total == 1 and page.next_ is None
assert page.values[0].rate.requests == 600 and page.values[0].last_address == "10.1.2.3"
print("list")

changed = change_token.sync(made.id, client=bot, body=ChangeRequest(label="renamed", read_only=True, rate=None))
assert changed.label == "renamed" and changed.read_only and changed.rate is None
print("change")

rotated = rotate_token.sync(str(made.number), client=bot, body=RotateRequest(overlap="1h"))
assert rotated.previous_until is not None
assert status(rotated.password_value) == 200 and status(made.password_value) == 200
print("rotate")

assert revoke_token.sync_detailed(made.id, client=bot).status_code == 204
assert status(rotated.password_value) == 401
assert get_token.sync(made.id, client=bot).state == State.REVOKED
print("revoke")

wilma = password("wilma", os.environ["WILMA"])
waiting = create_token.sync(client=wilma, body=CreateRequest(label="waits", expires_in_days=7))
assert waiting.state == State.PENDING and waiting.read_only
betty = password("betty", os.environ["BETTY"])
approved = approve_token.sync_detailed(waiting.id, client=betty, x_atlassian_token=ApproveTokenXAtlassianToken.NO_CHECK)
assert approved.status_code == 204, approved.parsed
assert [t.state for t in list_own_tokens.sync(client=wilma, state=UNSET)] == [State.ACTIVE]
print("approve")

refused = create_token.sync(client=wilma, body=CreateRequest(label="too long", expires_in="365d"))
assert isinstance(refused, Error) and "30d" in refused.message, refused
print("refused")
