"""One bill's way as one trace, from the record the puller published to what Qonto showed in the end.

Messages carry the W3C `traceparent` (https://www.w3.org/TR/trace-context/) in their headers. Bills that are handled
together keep a trace each: their steps link to the span of the batch. On only where WEIR_OTLP_URL or
OTEL_EXPORTER_OTLP_ENDPOINT is set, which needs the extra `telemetry`; elsewhere nothing is imported, and a step costs a
comparison. Attributes are ids, names of ours and figures: never a secret, an address with its query, or a text.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from common.errors import UserError
from common.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

TRACEPARENT = "traceparent"
MOST_LINKS = 128
"""Links of one span; the specification's own limit."""

About = Mapping[str, str | float | bool | None]
Kind = Literal["internal", "server", "client", "producer", "consumer"]
_LAST_WORDS = 3000
"""Milliseconds."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NONE: Mapping[str, str] = {}

_tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None


class Step:
    """A step of a trace: a span that is not over, or nothing where tracing is off."""

    __slots__ = ("_span",)

    def __init__(self, span: "Span | None" = None) -> None:
        self._span = span

    @property
    def trace(self) -> str | None:
        """The `traceparent` that what follows from this step continues."""
        return None if self._span is None else _traceparent(self._span)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of a message that follows from this step."""
        return _NONE if self._span is None else {TRACEPARENT: _traceparent(self._span)}

    def note(self, about: About) -> None:
        """Say more about it; what is None is left out."""
        if self._span is not None:
            self._span.set_attributes(_named(about))

    def failed(self, error: BaseException) -> None:
        """Say what it ended with: the kind of the error, not its words."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 (only where tracing is on)

            self._span.set_status(Status(StatusCode.ERROR, type(error).__name__))

    def end(self) -> None:
        """It is over; ending it again changes nothing."""
        if self._span is not None and self._span.is_recording():
            self._span.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """What is begun in the block belongs to this step."""
        if self._span is None:
            yield
            return
        from opentelemetry.trace import use_span  # noqa: PLC0415 (only where tracing is on)

        with use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield


OFF = Step()


def configure(service: str, settings: Settings) -> None:
    """Send this process's traces where the settings say, if they do. UserError if the libraries are not installed."""
    global _tracer, _provider  # noqa: PLW0603 (one tracer for the process, like its log)
    if settings.otlp_url is None and not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"WEIR_OTLP_URL is set and {error.name} is not installed; `pip install 'weir[telemetry]'`, or unset it"
        ) from None
    about = {"service.name": f"weir-{service}", "service.namespace": "weir", "weir.region": settings.region}
    _provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{settings.otlp_url}/v1/traces") if settings.otlp_url else OTLPSpanExporter()
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("weir")


def close() -> None:
    """Send what is left, for some seconds at most, and trace no more."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        provider.force_flush(_LAST_WORDS)
        provider.shutdown()


def begin(
    name: str,
    about: About | None = None,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    links: Iterable[str | None] = (),
    root: bool = False,
) -> Step:
    """A step that the caller ends; OFF where tracing is off.

    It belongs to the `traceparent` of `parent`, else to the current step, else (or as a `root`) it begins a trace. If
    it does not belong to the current step, it links to it.
    """
    return OFF if _tracer is None else Step(_begun(_tracer, name, kind, parent, links, root, about or {}))


def _begun(
    tracer: "Tracer", name: str, kind: Kind, parent: str | None, links: Iterable[str | None], root: bool, about: About
) -> "Span":
    from opentelemetry import trace  # noqa: PLC0415 (only where tracing is on)

    current = trace.get_current_span().get_span_context()
    context = None if parent is None and not root else _context(parent)
    linked = [trace.get_current_span(_context(one)).get_span_context() for one in links if one is not None]
    if context is not None and current.is_valid:
        linked.append(current)
    return tracer.start_span(
        name,
        context,
        kind=trace.SpanKind[kind.upper()],
        attributes=_named(about),
        links=[trace.Link(one) for one in linked[-MOST_LINKS:] if one.is_valid],
    )


@contextmanager
def span(
    name: str,
    about: About | None = None,
    *,
    kind: Kind = "internal",
    links: Iterable[str | None] = (),
    root: bool = False,
) -> Iterator[Step]:
    """A step that lasts for the block, and to which belongs what is begun in it."""
    if _tracer is None:
        yield OFF
        return
    step = Step(_begun(_tracer, name, kind, None, links, root, about or {}))
    try:
        with step.current():
            yield step
    except BaseException as error:
        step.failed(error)
        raise
    finally:
        step.end()


@contextmanager
def together(name: str, steps: Sequence[Step]) -> Iterator[None]:
    """What is done for several steps at once: a span that links to each of them; that of one belongs to it."""
    if _tracer is None:
        yield
    elif len(steps) == 1:
        with steps[0].current(), span(name):
            yield
    else:
        with span(name, links=[step.trace for step in steps]):
            yield


def headers() -> Mapping[str, str]:
    """The headers of a message that follows from the current step."""
    if _tracer is None:
        return _NONE
    from opentelemetry import trace  # noqa: PLC0415 (only where tracing is on)

    current = trace.get_current_span()
    return {TRACEPARENT: _traceparent(current)} if current.get_span_context().is_valid else _NONE


def of(headers: Mapping[str, str] | None) -> str | None:
    """The `traceparent` among a message's headers."""
    return headers.get(TRACEPARENT) if headers else None


def ident(traceparent: str | None) -> str | None:
    """The trace id in a `traceparent`, as logs show it."""
    parts = traceparent.split("-") if traceparent else []
    return parts[1] if len(parts) == 4 else None


def current_ident() -> str | None:
    """The trace id of the current step."""
    return None if _tracer is None else ident(of(headers()))


def _traceparent(span: "Span") -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _context(traceparent: str | None) -> Any:
    """The context of a `traceparent`; an empty one, where a trace begins, if there is none or it cannot be read."""
    from opentelemetry.context import Context  # noqa: PLC0415 (only where tracing is on)
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier = {TRACEPARENT: traceparent} if traceparent else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _named(about: About) -> dict[str, str | float | bool]:
    """Attributes as OpenTelemetry names them: those of its conventions have dots, ours stand below `weir`."""
    return {key if "." in key else f"weir.{key}": value for key, value in about.items() if value is not None}
