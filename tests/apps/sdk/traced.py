"""The shop with OpenTelemetry's SDK in it. It exports if OTEL_EXPORTER_OTLP_ENDPOINT says where to. SHOP_NAME names its
service in the program itself."""

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app import app

name = os.environ.get("SHOP_NAME")
provider = TracerProvider(resource=Resource.create({"service.name": name} if name else {}))
if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
FlaskInstrumentor().instrument_app(app)
RequestsInstrumentor().instrument()
