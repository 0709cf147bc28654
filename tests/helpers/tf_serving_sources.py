"""Where TF Serving decides what it answers, and in what the local server differs; see `docs/conformance.md`."""

# Files of TF Serving, below tensorflow_serving/ ...
SERVER, HANDLER, UTIL = (
    f"model_servers/{name}.cc" for name in ("http_server", "http_rest_api_handler", "http_rest_api_util")
)
JSON, GZIP, EVHTTP = (
    "util/json_tensor.cc",
    "util/net_http/server/internal/evhttp_request.cc",
    "util/net_http/server/internal/evhttp_server.cc",
)
STATUS, CORE = "model_servers/get_model_status_impl.cc", "model_servers/server_core.cc"
PREDICT_IMPL, PREDICT_UTIL, METADATA, CLASSIFIER, REGRESSOR, INFERENCE = (
    f"servables/tensorflow/{name}.cc"
    for name in (
        "predict_impl",
        "predict_util",
        "get_model_metadata_impl",
        "classifier",
        "regressor",
        "multi_inference",
    )
)
# ... or what differs: the first column of the page's table.
FRAMING, TEXTS, NUMBERS = "framing of HTTP", "form of JSON", "numbers that are not finite"
UNICODE, TWICE, UNKNOWN_PATH, PACKED = "not UTF-8", "a key twice", "unknown path", "packed without saying so"
TOO_LARGE, INITIAL, RELOADING, METRICS = "too large or too much", "the initial operation", "reload", "metrics"
