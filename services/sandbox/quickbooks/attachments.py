"""Attachables: their links, which live 15 minutes, the upload, and the host the links lead to."""

import email
import email.policy
from typing import Any

from starlette.responses import Response

from services.sandbox.quickbooks.checks import checked_references
from services.sandbox.quickbooks.effects import hung_on, rehang
from services.sandbox.quickbooks.index import keep
from services.sandbox.quickbooks.objects import READ_ONLY
from services.sandbox.quickbooks.wire import Fault, normalized, pacific
from services.sandbox.store import DECODER, File, Row
from services.sandbox.world import World

LINK_LIFETIME = 900  # seconds
UPLOAD_LIMIT = 100 * 1024 * 1024  # bytes per request
REFUSALS = {403: "AccessDenied", 404: "NoSuchKey", 400: "ExpiredToken", 410: "Gone"}
FIRST_ID = 1_000_000_000_000_000_000_001  # attachable ids outgrow 64 bits


def link(world: World, realm: str, row: Row, base_url: str) -> str:
    expires = int(world.now()) + LINK_LIFETIME
    file_id = row.inner["file"]
    signature = world.sign("quickbooks-file", file_id, expires)
    return f"{base_url}{realm}/attachments/{file_id}?Expires={expires}&Signature={signature}"


def as_shown(world: World, realm: str, row: Row, base_url: str) -> dict[str, Any]:
    """The attachable with a link minted now. Notes have no file and no link."""
    if "file" not in row.inner:
        return row.body
    if "Size" not in row.body:
        row.body["Size"] = len(world.content(row.inner["file"])[1])
        # The row may be the index's older view of the object, which must not be stored over it.
        if (stored := world.store.need(realm, "Attachable", row.id)) is row:
            world.store.put(realm, "Attachable", stored)
    return {**row.body, "TempDownloadUri": link(world, realm, row, base_url)}


def fetch(world: World, file_id: str, expires: str, signature: str) -> Response:
    """The file behind a link, or the XML refusal of an object store."""
    try:
        genuine = world.sign("quickbooks-file", file_id, int(expires)) == signature
    except ValueError:
        genuine = False
    if not genuine:
        return refusal("The request signature we calculated does not match the signature you provided.")
    if int(expires) < world.now():
        return refusal("Request has expired", world.switches.expired_link)
    try:
        file, content = world.content(file_id)
    except KeyError:
        return refusal("Access Denied")
    return Response(content, media_type=file.content_type)


def refusal(message: str, status: int = 403) -> Response:
    """What an object store says to a link that is no longer, or never was, good."""
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{REFUSALS[status]}</Code>'
        f"<Message>{message}</Message></Error>",
        status,
        media_type="application/xml",
    )


def new_attachable(world: World, realm: str, metadata: dict[str, Any], file: tuple[str, str, bytes] | None) -> Row:
    """Stores an attachable, with its file (name, content type, bytes) if it has one."""
    checked_references(metadata)
    now = world.now()
    number = str(world.store.next_number(realm, "attachable-high", 0))
    ident = str(FIRST_ID + int(number))
    inner = {}
    body = {key: value for key, value in metadata.items() if key not in READ_ONLY}
    if file is not None:
        name, content_type, content = file
        file_id = f"qb-{realm}-{ident}"
        world.store.put_file(File(file_id, name, content_type, content, {}))
        inner = {"file": file_id}
        body |= {"FileName": body.get("FileName") or name, "ContentType": content_type, "Size": len(content)}
        body["FileAccessUri"] = f"/v3/company/{realm}/download/{ident}"
    body |= {
        "domain": "QBO",
        "sparse": False,
        "Id": ident,
        "SyncToken": "0",
        "MetaData": {"CreateTime": pacific(now), "LastUpdatedTime": pacific(now)},
    }
    row = Row(ident, normalized(body), now, now, inner=inner)
    keep(world, realm, "Attachable", row)
    rehang(world, realm, hung_on(row.body))
    return row


def parts(content_type: str, body: bytes) -> list[tuple[str, str, str, bytes]]:
    """The parts of a multipart body as (name, file name, content type, bytes).

    Read as MIME mail, since one real client sends bare line feeds and base64.
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    if not message.is_multipart():
        raise Fault("2010", "Request has invalid or unsupported property", "The body is not multipart")
    found = []
    for part in message.iter_parts():
        name = part.get_param("name", "", "content-disposition")
        payload = part.get_payload(decode=True)
        found.append((str(name), part.get_filename() or "", part.get_content_type(), bytes(payload or b"")))
    return found


def upload(content_type: str, body: bytes) -> list[tuple[dict[str, Any], tuple[str, str, bytes]]]:
    """The pairs of metadata and file of an upload; metadata may be missing."""
    if len(body) > UPLOAD_LIMIT:
        raise Fault("6030", "Uploaded file is too large", "The limit is 100 MB", status=413)
    metadata: dict[str, dict[str, Any]] = {}
    contents: dict[str, tuple[str, str, bytes]] = {}
    for name, file_name, kind, payload in parts(content_type, body):
        stem, _, suffix = name.rpartition("_")
        if stem == "file_metadata":
            metadata[suffix] = DECODER.decode(payload)
        elif stem == "file_content":
            contents[suffix] = (file_name, kind, payload)
    if not contents:
        detail = "Required parameter file_content is missing in the request"
        raise Fault("2020", "Required parameter missing", detail)
    paired = []
    for suffix, (name, kind, payload) in contents.items():
        known = metadata.get(suffix, {})
        paired.append((known, (known.get("FileName") or name or "file", kind, payload)))
    return paired
