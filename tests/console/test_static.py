"""What browsers load comes from here, and is what its publishers published."""

import hashlib
import json
import re

from services.console.page import HERE, STATIC

VENDOR = STATIC / "vendor"
ELSEWHERE = re.compile(r"""(?:src|href|url\(|@import)[^>\n]{0,20}["'(]\s*(?:https?:)?//""")

INLINE = re.compile(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|hx-on|javascript:")


def test_what_is_vendored_is_as_it_was_published() -> None:
    listed = {one["file"]: one for one in json.loads((VENDOR / "manifest.json").read_text())}
    scripts = {path.name for path in VENDOR.glob("*.js")}
    assert listed.keys() == scripts
    for name, one in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == one["sha256"], name
        assert (VENDOR / f"{name.partition('.')[0]}.LICENSE").exists(), name
        assert one["version"]


def test_nothing_is_loaded_from_elsewhere_or_written_inline() -> None:
    for path in [*HERE.glob("templates/**/*.html"), *STATIC.glob("*.css"), *STATIC.glob("*.js")]:
        text = path.read_text()
        assert not ELSEWHERE.search(text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|hx-on|javascript:", text), (
                path.name
            )
