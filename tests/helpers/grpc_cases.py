"""Requests over gRPC that TF Serving and the local server refuse, and how."""

import tensorflow as tf
from pictures import FILES, QUERY
from server_process import refer_inputs
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)
from tf_serving_sources import (
    CLASSIFIER,
    CORE,
    INFERENCE,
    INITIAL,
    METADATA,
    PREDICT_IMPL,
    PREDICT_UTIL,
    REGRESSOR,
    RELOADING,
    STATUS,
)


def predict(model="dsg", signature="", **change) -> predict_pb2.PredictRequest:
    """A Predict with other inputs where `change` says so, or without them (None)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    inputs = {**refer_inputs([FILES["png"]], [QUERY]), **change}
    for name, value in inputs.items():
        if value is not None:
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def filtered(*names):
    request = predict()
    request.output_filter.extend(names)
    return request


def _of_model(kind, **spec):
    request = kind()
    request.model_spec.SetInParent()
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    return request


def _metadata(*fields, name="dsg"):
    request = _of_model(get_model_metadata_pb2.GetModelMetadataRequest, name=name)
    request.metadata_field.extend(fields)
    return request


def _inference(method, name="dsg", signature=""):
    request = inference_pb2.MultiInferenceRequest()
    task = request.tasks.add(method_name=method)
    task.model_spec.name, task.model_spec.signature_name = name, signature
    return request


CLASSIFY, REGRESS = classification_pb2.ClassificationRequest, regression_pb2.RegressionRequest
STATUS_REQUEST, RELOAD_REQUEST = get_model_status_pb2.GetModelStatusRequest, model_management_pb2.ReloadConfigRequest
MISSING, NAMELESS = "Missing ModelSpec", "ModelSpec has no name specified."
WAS = "Was: tensorflow/serving/predict"


GRPC_CASES = [
    ("Predict", predict_pb2.PredictRequest(), "INVALID_ARGUMENT", MISSING, PREDICT_IMPL),
    ("Predict", predict(""), "INVALID_ARGUMENT", NAMELESS, CORE),
    ("Predict", predict("a"), "NOT_FOUND", "Servable not found for request: Latest(a)", CORE),
    ("Predict", predict("dsg", "a"), "FAILED_PRECONDITION", 'signature key "a" not found.', PREDICT_UTIL),
    ("Predict", predict("dsg", "__saved_model_init_op"), "FAILED_PRECONDITION", "not found.", INITIAL),
    ("Predict", predict(image=None), "INVALID_ARGUMENT", "Missing but required: {image}", PREDICT_UTIL),
    ("Predict", predict(a=1), "INVALID_ARGUMENT", "Sent extra: {a}", PREDICT_UTIL),
    ("Predict", predict(a=1, image=None), "INVALID_ARGUMENT", "{a}", PREDICT_UTIL),
    ("Predict", predict(image=1.0), "INVALID_ARGUMENT", "image", PREDICT_UTIL),
    ("Predict", filtered("boxes", "a"), "INVALID_ARGUMENT", "output tensor alias not found in", PREDICT_UTIL),
    ("Predict", filtered("boxes", "boxes"), "INVALID_ARGUMENT", "duplicate output tensor alias", PREDICT_UTIL),
    ("Classify", CLASSIFY(), "INVALID_ARGUMENT", MISSING, CLASSIFIER),
    ("Classify", _of_model(CLASSIFY), "INVALID_ARGUMENT", NAMELESS, CORE),
    ("Classify", _of_model(CLASSIFY, name="dsg"), "INVALID_ARGUMENT", WAS, CLASSIFIER),
    ("Classify", _of_model(CLASSIFY, name="dsg", signature_name="a"), "INVALID_ARGUMENT", "No sign", CLASSIFIER),
    ("Regress", REGRESS(), "INVALID_ARGUMENT", MISSING, REGRESSOR),
    ("Regress", _of_model(REGRESS, name="dsg"), "INVALID_ARGUMENT", WAS, REGRESSOR),
    ("MultiInference", inference_pb2.MultiInferenceRequest(), "INVALID_ARGUMENT", NAMELESS, INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/classify"), "INVALID_ARGUMENT", WAS, INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/regress"), "INVALID_ARGUMENT", "regress", INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/predict"), "UNIMPLEMENTED", "Unsupported", INFERENCE),
    ("MultiInference", _inference("classify"), "UNIMPLEMENTED", "Unsupported", INFERENCE),
    ("MultiInference", _inference("tensorflow/serving/classify", "a"), "NOT_FOUND", "Latest(a)", INFERENCE),
    ("GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest(), "INVALID_ARGUMENT", MISSING, METADATA),
    ("GetModelMetadata", _metadata(), "INVALID_ARGUMENT", "at least one metadata_field", METADATA),
    ("GetModelMetadata", _metadata("a"), "INVALID_ARGUMENT", "is not supported", METADATA),
    ("GetModelMetadata", _metadata("signature_def", name=""), "INVALID_ARGUMENT", NAMELESS, CORE),
    ("GetModelStatus", STATUS_REQUEST(), "INVALID_ARGUMENT", MISSING, STATUS),
    ("GetModelStatus", _of_model(STATUS_REQUEST), "NOT_FOUND", "Could not find any versions of model ", STATUS),
    ("HandleReloadConfigRequest", RELOAD_REQUEST(), "PERMISSION_DENIED", "--allow_reload", RELOADING),
]
