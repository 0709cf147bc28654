"""What the model is and in which state: the answers of GetModelMetadata and GetModelStatus, for gRPC and REST."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from export.serving.servable import Servable
from export.serving.status import Status
from export.serving.versions import Versions
from export.serving.words import Words

SIGNATURE_DEF = "signature_def"
_UNKNOWN = 2  # The code of an error of which nothing more is known.
# Renamed in protobuf 5.
_WITH_DEFAULTS = (
    "always_print_fields_with_no_presence"
    if "always_print_fields_with_no_presence" in json_format.MessageToDict.__code__.co_varnames
    else "including_default_value_fields"
)


def check_spec(request) -> None:
    """Raises `Status` for a request that says nothing about the model."""
    if not request.HasField("model_spec"):
        raise Status("INVALID_ARGUMENT", "Missing ModelSpec")


def metadata(versions: Versions, request) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version.

    Raises:
      Status: INVALID_ARGUMENT: other fields than "signature_def" are asked for; NOT_FOUND.
    """
    check_spec(request)
    if not request.metadata_field:
        raise Status("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise Status("INVALID_ARGUMENT", f"Metadata field {field[:100]} is not supported")
    servable = versions.find(request.model_spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name, response.model_spec.version.value = request.model_spec.name, servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.definitions.items():
        signatures.signature_def[name].CopyFrom(signature)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def status(versions: Versions, request) -> get_model_status_pb2.GetModelStatusResponse:
    """The state of the versions.

    Raises:
      Status: INVALID_ARGUMENT: the request has no `model_spec`; NOT_FOUND.
    """
    check_spec(request)
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, condition in versions.conditions(request.model_spec).items():
        item = response.model_version_status.add(version=version, state=condition.state)
        item.status.error_code = _UNKNOWN if condition.error else 0
        item.status.error_message = condition.error[:1000]
    return response


def words(versions: Versions, spec: model_pb2.ModelSpec) -> dict[str, Any]:
    """The vocabulary of a version.

    Raises:
      Status: NOT_FOUND; UNIMPLEMENTED: it was exported without its words.
    """
    servable = versions.find(spec)
    known = words_of(servable).vocabulary
    return {"version": str(servable.version), "entities": known.entities, "relations": known.relations}


def words_of(servable: Servable) -> Words:
    """The words of a version; raises `Status` UNIMPLEMENTED: it was exported without them."""
    if servable.words is None:
        raise Status("UNIMPLEMENTED", f"version {servable.version} was exported without its words: export it again")
    return servable.words


def as_json(message) -> dict[str, Any]:
    """A response with TF Serving's names; fields that have their default are there, too."""
    options = {_WITH_DEFAULTS: True, "preserving_proto_field_name": True}
    value = json_format.MessageToDict(message, **options)
    for field in value.get("metadata", {}).values():
        field.pop("@type", None)
        value["metadata"] = {SIGNATURE_DEF: field}
    return value
