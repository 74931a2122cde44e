"""Files: upload with its idempotency key, presigned links of 30 minutes, and those of transactions."""

import hashlib
import uuid
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import Response

from services.sandbox.qonto.wire import Refusal, stamp
from services.sandbox.store import File, Row
from services.sandbox.world import World

LINK_LIFETIME = 1800  # seconds
LARGEST_FILE = 15 * 1024 * 1024  # bytes
TYPES = ("application/pdf", "image/jpeg", "image/png")


async def received(upload: object) -> tuple[str, str, bytes]:
    """File name, content type and bytes of the `file` part; refuses what Qonto does not take."""
    if not isinstance(upload, UploadFile):
        raise Refusal(400, "required", "file is required", pointer="/file")
    content = await upload.read()
    content_type = (upload.content_type or "").partition(";")[0]
    if content_type not in TYPES or not content or len(content) > LARGEST_FILE:
        raise Refusal(422, "invalid", "File is too large or wrong content type", pointer="/file")
    return upload.filename or "file", content_type, content


def new_attachment(
    world: World, organization: str, name: str, content_type: str, content: bytes, visible_at: float = 0.0
) -> Row:
    now, ident = world.now(), str(uuid.uuid4())
    world.store.put_file(File(ident, name, content_type, content, {}))
    body = {
        "id": ident,
        "created_at": stamp(now),
        "file_name": name,
        "file_size": str(len(content)),
        "file_content_type": content_type,
        "probative_attachment": {"status": "unavailable"},
    }
    inner = {"file": ident, "sha256": hashlib.sha256(content).hexdigest(), "visible_at": visible_at}
    row = Row(ident, body, now, now, inner=inner)
    world.store.put(organization, "attachment", row)
    return row


def as_shown(world: World, organization: str, row: Row, base_url: str) -> dict[str, Any]:
    """The attachment with a link minted now; the size is a string."""
    if "file_size" not in row.body:
        _, content = world.content(row.inner["file"])
        row.body["file_size"] = str(len(content))
        world.store.put(organization, "attachment", row)
    expires = int(world.now()) + LINK_LIFETIME
    signature = world.sign("qonto-file", row.inner["file"], expires)
    link = f"{base_url}qonto-attachments/{row.inner['file']}?X-Amz-Expires={expires}&X-Amz-Signature={signature}"
    return {**row.body, "url": link}


def fetch(world: World, file_id: str, expires: str, signature: str, has_authorization: bool) -> Response:
    """The file behind a link. An Authorization header spoils a presigned request, as object stores have it."""
    if has_authorization:
        return _store_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    if not expires.isdigit() or world.sign("qonto-file", file_id, int(expires)) != signature:
        return _store_error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")
    if int(expires) < world.now():
        return _store_error(403, "AccessDenied", "Request has expired")
    try:
        file, content = world.content(file_id)
    except KeyError:
        return _store_error(404, "NoSuchKey", "The specified key does not exist.")
    return Response(content, media_type=file.content_type)


def _store_error(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body, status, media_type="application/xml")
