"""What the property tester cannot learn from the OpenAPI document.

JSON Schema says what one value may be, and nothing of how two values go together. A request that is valid by
its schema may so be refused with 422, if each of its errors is one of the rules below.
"""

import itertools
import re
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlsplit

import schemathesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

RULES = [
    # Two times in their order.
    r"must be later than (from|occurred_from)",
    # Times that are compared with now.
    r"must be at most 5 minutes ahead",
    r"must be in the future",
    r"must be after 1970",
    r"must be before the year 10000",
    # A time of another form than RFC 3339 has it, such as a leap second.
    r"must be a(n RFC 3339)? time (by RFC 3339 with a zone.*|with zone)",
    # A cursor is made by the service, for one list.
    r"is not a cursor: .*",
    r"belongs to other filters or another order: .*",
    # page and page_size together, and page beside cursor.
    r"must not reach beyond 10000 logs: .*",
    r"must not be given together with cursor",
    # A search is a small language of its own.
    r"must hold a word to look for",
    r"must hold at most 32 terms",
    # A rule of masking names a form that is known, or has one of its own in a small language.
    r"must have either a name or a form",
    r"must have forms of at most 500 characters together",
    r"must have at least \d+ characters besides \*",
    r"must have neither a letter, a digit nor one of .* behind a \*",
    r"must not end in \\",
    r"must have a letter",
    # How deep an object goes.
    r"must be nested at most 20 deep",
    # A character that is no character: JSON can say it, and a regular expression does not see it.
    r"must be valid Unicode without NUL",
]
RULE = re.compile("|".join(f"(?:{rule})" for rule in RULES))


# Times of any year would nearly all be refused: what is logged has happened, and not before 1970.
times = st.datetimes(datetime(1970, 1, 2), datetime(2026, 1, 1), timezones=st.just(timezone.utc))
schemathesis.openapi.format("date-time", times.map(lambda time: time.isoformat().replace("+00:00", "Z")))


numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    """The tester sends one Idempotency-Key with many bodies, and would hear no more than that."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < 200:
        case.headers["Idempotency-Key"] = f"{key}-{next(numbers)}"


def is_valid_as_sent(case, response):
    """A number in the place of a text is refused by a schema, but in a query it is the text of its digits."""
    forms = {one.name: one.definition["schema"] for one in case.operation.query}
    sent = parse_qs(urlsplit(response.request.url).query, keep_blank_values=True)
    # `metadata.<path>` are the parts of one parameter that is an object.
    parts = {name: texts for name, texts in sent.items() if name not in forms}
    named = {name: texts for name, texts in sent.items() if name in forms}
    if parts:
        named["metadata"] = parts
    return all(name in forms and is_valid(forms[name], value) for name, value in named.items())


def is_valid(form, value):
    if form.get("type") == "integer" and len(value) == 1 and value[0].isdecimal():
        value = [int(value[0])]
    readings = [value, value[0]] if isinstance(value, list) and len(value) == 1 else [value]
    return any(Draft202012Validator(form).is_valid(one) for one in readings)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if isinstance(failure, AcceptedNegativeData):
        return not ("in query" in failure.message and is_valid_as_sent(case, response))
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    errors = response.json().get("errors", [])
    return not errors or not all(RULE.fullmatch(error["message"]) for error in errors)
