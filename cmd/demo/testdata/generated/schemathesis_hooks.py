"""What the description says in words only, and schemathesis has to be told."""

import schemathesis
from hypothesis import strategies as st

days = st.dates().map(str)
lifetimes = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from("wdhms"))
schemathesis.openapi.format("duration-in-units", lifetimes)
schemathesis.openapi.format("lifetime", lifetimes | st.just("unlimited"))
schemathesis.openapi.format("day-or-time", days | days.map(lambda day: day + "T12:00:00Z"))
schemathesis.openapi.format("network", st.ip_addresses().map(str) | st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]))
schemathesis.openapi.format("address", st.ip_addresses().map(str))


@schemathesis.hook
def filter_query(context, query):
    """CSV is no JSON, and a cursor comes from the page before."""
    return not query or query.get("format") != "csv"


def has_null(value):
    if isinstance(value, dict):
        return any(has_null(v) for v in value.values())
    return value is None


@schemathesis.hook
def filter_body(context, body):
    """A null is a field that is left out; of the ends of a token only one may be given; a burst has a bound."""
    if not isinstance(body, dict):
        return True
    rate = body.get("rate")
    if isinstance(rate, dict) and isinstance(rate.get("burst"), int) and isinstance(rate.get("requests"), int) and rate["burst"] > rate["requests"]:
        return False
    if sum(end in body for end in ("expiresIn", "expiresInDays", "expiresAt")) > 1:
        return False
    return not has_null(body)
