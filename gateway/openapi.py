"""The OpenAPI description of every operation."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from chassis.http.problem_details import PROBLEM, phrase
from gateway.http.schemas import Problem

# Status -> a code that it comes with, and what it means.
_MEANING = {
    401: ("UNAUTHENTICATED", "The access token is missing or invalid"),
    403: ("FORBIDDEN", "This caller lacks the permission"),
    404: ("NOT_FOUND", "No such resource, or none that this caller may see"),
    408: ("UPLOAD_STALLED", "The body did not arrive in time"),
    409: ("TOO_LATE_TO_CANCEL", "The request conflicts with the current state"),
    412: ("VERSION_MISMATCH", "Changed meanwhile"),
    413: ("BODY_TOO_LARGE", "The body is too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The body has the wrong media type, or a content coding"),
    416: ("RANGE_NOT_SATISFIABLE", "The range lies outside the file"),
    422: ("INVALID_INPUT", "The input cannot be accepted; `errors` has each field and the reason"),
    429: ("RATE_LIMITED", "Too many requests; `Retry-After` has the seconds to wait"),
    503: ("UPSTREAM_UNAVAILABLE", "An upstream is unavailable; `Retry-After` has the seconds to wait"),
    504: ("DEADLINE_EXCEEDED", "The deadline expired; the request may still take effect"),
    507: ("INSUFFICIENT_STORAGE", "The storage has no room for the file"),
}
_ALWAYS = (429, 503, 504)
# What every body can be refused for.
_OF_BODIES = (408, 413, 415, 422)
_COUNTED = ("Retry-After", "RateLimit", "RateLimit-Policy")
# Status -> the headers of its problem.
_PROBLEM_HEADERS = {401: ("WWW-Authenticate",), 416: ("Content-Range",), 429: _COUNTED, 503: _COUNTED}
_HEADERS = {
    "Content-Range": "The range of bytes and the file's size; of a 416, only the size.",
    "ETag": "The version; for `If-None-Match`, and for `If-Match` in a write.",
    "Location": "URL of the new resource.",
    "RateLimit": "Requests left in each quota, and the seconds until it is reset.",
    "RateLimit-Policy": "Each quota, and its window in seconds.",
    "Repr-Digest": "RFC 9530: the SHA-256 of the whole file.",
    "Retry-After": "Seconds to wait.",
    "WWW-Authenticate": "The authentication scheme (RFC 6750).",
}
# Examples by format or type, where nothing better is known.
_PLAIN = {
    "string": "…",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "date": "2026-01-05",
    "date-time": "2026-01-05T09:00:00Z",
    "binary": "the bytes of the file",
}

Json = dict[str, Any]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of an operation, with those that every operation can have."""
    return {status: {"description": _MEANING[status][1]} for status in (*statuses, *_ALWAYS)}


def with_headers(*names: str) -> Json:
    """The documented headers of a response."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def operation_id(route: APIRoute) -> str:
    """The name of an operation in generated clients: its function's."""
    return route.name


class DocumentedApi(FastAPI):
    """FastAPI whose document holds what routes leave unsaid: problems, headers, examples, public routes."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            document = super().openapi()
            _, shapes = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
            document["components"]["schemas"].update(shapes["$defs"])
            document["components"]["responses"] = {
                _MEANING[status][0]: _problem_response(status, shapes["$defs"]) for status in _MEANING
            }
            document["components"]["headers"] = {
                name: {"description": about, "schema": {"type": "string"}} for name, about in _HEADERS.items()
            }
            for operations in document["paths"].values():
                for operation in operations.values():
                    _complete(operation, document["components"]["schemas"])
        return super().openapi()


def _complete(operation: Json, shapes: Json) -> None:
    operation.setdefault("security", [])
    responses: Json = operation["responses"]
    if "requestBody" in operation:
        responses |= {str(status): {} for status in _OF_BODIES}
    for status, response in responses.items():
        if int(status) in _MEANING:
            responses[status] = {"$ref": f"#/components/responses/{_MEANING[int(status)][0]}"}
            continue
        # Only an answer that can be "not modified" has a tag.
        known = [*(["ETag"] if "304" in responses else []), *(["Location"] if status == "201" else [])]
        if known:
            response["headers"] = {**with_headers(*known)["headers"], **response.get("headers", {})}
        for media_type, content in response.get("content", {}).items():
            if "json" in media_type:
                content.setdefault("example", example_of(content["schema"], shapes))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content.setdefault("example", example_of(content["schema"], shapes))


def _problem_response(status: int, shapes: Json) -> Json:
    code, meaning = _MEANING[status]
    kind = f"https://shop.test/problems/{code.lower().replace('_', '-')}"
    example: Json = shapes["Problem"]["examples"][0]
    example = {**example, "type": kind, "title": phrase(status), "status": status, "detail": meaning, "code": code}
    if status == 422:
        example["errors"] = [{"field": "name", "detail": "Field required"}]
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    headers = with_headers(*_PROBLEM_HEADERS[status]) if status in _PROBLEM_HEADERS else {}
    return {"description": meaning, **headers, "content": {PROBLEM: content}}


def example_of(schema: Json, shapes: Json) -> Any:
    """An example of a schema: its own one, or one made from those of its parts."""
    if "$ref" in schema:
        return example_of(shapes[schema["$ref"].rpartition("/")[2]], shapes)
    for known in (schema.get("examples"), schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if known:
            # What the framework makes a document of loses every null.
            lost = [name for name in schema.get("required", ()) if isinstance(known[0], dict) and name not in known[0]]
            return {**known[0], **dict.fromkeys(lost)} if lost else known[0]
    if "default" in schema:
        return schema["default"]
    if "anyOf" in schema:
        # The most that it can be: `null` is what it can be besides.
        return example_of(next(each for each in schema["anyOf"] if each.get("type") != "null"), shapes)
    if "properties" in schema:
        return {name: example_of(each, shapes) for name, each in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"], shapes)]
    return _PLAIN.get(schema.get("format") or schema.get("type", ""), {})
