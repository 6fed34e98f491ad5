"""A program as a user would write it on the package that openapi-python-client makes, here `audit_log_client`.

Its test runs it with the address, a token and a word to put into the log.
"""

import json
import sys
import time

import httpx

from audit_log_client import AuthenticatedClient
from audit_log_client.api.exports import get_export, start_export
from audit_log_client.api.logs import create_log, list_logs
from audit_log_client.models import (
    AuditLogPage,
    CreatedLogAnswer,
    ExportAnswer,
    LogFilters,
    NewAuditLog,
    NewExport,
)
from audit_log_client.models.new_export_format import NewExportFormat


def until(look):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.3)
    raise TimeoutError("It did not come in 60 seconds.")


def expect(answer, kind):
    if not isinstance(answer, kind):
        raise TypeError(f"got {answer}")
    return answer


def main(url, token, word):
    with AuthenticatedClient(base_url=f"{url}/api/v1", token=token) as client:
        log = NewAuditLog.from_dict(
            {
                "action": "document.deleted",
                "resource_type": "document",
                "resource_id": "doc_42",
                "severity": "WARNING",
                "description": f"Deleted {word}",
                "metadata": {"reason": word},
            }
        )
        stored = expect(
            create_log.sync(client=client, body=log, idempotency_key=word), CreatedLogAnswer
        )

        def find():
            page = list_logs.sync(client=client, search=word, action=["document.*"], page_size=5)
            return next((one for one in expect(page, AuditLogPage).items if one.id == stored.data.id), None)

        found = until(find)

        wanted = NewExport(
            format_=NewExportFormat.JSONL, filters=LogFilters.from_dict({"metadata.reason": word})
        )
        asked = expect(start_export.sync(client=client, body=wanted), ExportAnswer)

        def finish():
            now = expect(get_export.sync(asked.data.id, client=client), ExportAnswer).data
            return now if now.status == "DONE" else None

        done = until(finish)
        rows = httpx.get(done.file_url).text.splitlines()
        print(json.dumps({"id": str(found.id), "severity": found.severity, "rows": len(rows)}))


main(*sys.argv[1:])
