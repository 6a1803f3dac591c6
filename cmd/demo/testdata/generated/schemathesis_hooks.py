"""Rules that the description states only in prose."""

import datetime

import schemathesis
from hypothesis import strategies as st

days = st.dates().map(str)
lifetimes = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from("wdhms"))
schemathesis.openapi.format("duration-in-units", lifetimes)
schemathesis.openapi.format("lifetime", lifetimes | st.just("unlimited"))
schemathesis.openapi.format("day-or-time", days | days.map(lambda day: day + "T12:00:00Z"))
schemathesis.openapi.format("duration-or-day", days | lifetimes)
schemathesis.openapi.format("network", st.ip_addresses().map(str) | st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]))
schemathesis.openapi.format("address", st.ip_addresses().map(str))


def has_null(value):
    if isinstance(value, dict):
        return any(has_null(v) for v in value.values())
    return value is None


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes a request that must be valid obey the rules between fields."""
    if case.query and case.query.get("format") == "csv":
        del case.query["format"]  # its answer is not JSON
    if case.meta is None or not case.meta.generation.mode.is_positive:
        if has_null(case.body):
            case.body = []  # null means that the field is absent, so it may be valid
        return
    if (case.method, case.path) == ("DELETE", "/all"):
        case.query = {"user": "fred"}  # the admin socket has no own tokens
    if case.query:
        if "action" in case.query:
            case.query["action"] = "token.create"
        case.query.pop("after", None)  # it must come from the previous page
        if "expiringWithin" in case.query:
            case.query.pop("expiresFrom", None)
            case.query.pop("expiresUntil", None)
    body = case.body
    if not isinstance(body, dict):
        return
    ends = [end for end in ("expiresIn", "expiresInDays", "expiresAt") if end in body]
    for end in ends[1:]:
        del body[end]
    # In the future, and within the maximum of one year for management tokens.
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for field, value in {"expiresAt": soon, "expiresIn": "30d", "expiresInDays": 30, "overlap": "1h", "ip": "192.0.2.7", "networks": ["10.0.0.0/8"]}.items():
        if field in body:
            body[field] = value
    if case.path == "/" and body.get("type") == "management":
        body.pop("user", None)  # a management token has no user
        body.pop("readOnly", None)
        body.update(networks=["10.0.0.0/8"], expiresIn="30d")
        body.pop("expiresAt", None)
        body.pop("expiresInDays", None)
    elif case.path == "/":
        body["user"] = "fred"  # a user of Jira
    rate = body.get("rate")
    if isinstance(rate, dict) and "burst" in rate:
        rate["burst"] = min(rate["burst"], rate["requests"])
    if "tokenId" in body and ("token" in body or "user" in body):
        del body["tokenId"]
