"""The files of export/tf_serving, and the protos that TF Serving reads them as.

TF Serving is not here to be asked. What it accepts is written down below from its source,
github.com/tensorflow/serving; paths start in its tensorflow_serving/.
"""

import os

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from paths import ROOT
from tensorflow_serving.config import model_server_config_pb2

FOLDER = os.path.join(ROOT, "export", "tf_serving")
SERVER_FLAGS = {  # Of those in model_servers/main.cc.
    "port",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "rest_api_num_threads",
    "enable_batching",
    "batching_parameters_file",
    "allow_version_labels_for_unavailable_models",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "model_base_path",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "file_system_poll_wait_seconds",
    "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "ssl_config_file",
    "per_process_gpu_memory_fraction",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "enable_model_warmup",
    "num_request_iterations_for_warmup",
    "monitoring_config_file",
    "xla_cpu_compilation_enabled",
    "enable_profiler",
    "thread_pool_factory_config_file",
    "grpc_socket_path",
    "enable_per_model_batching_parameters",
}
EXPORTER_FLAGS = {"model_dir", "output_dir", "jit_compile"}
NGINX_PORT = "8443"
# BatchingParameters in servables/tensorflow/session_bundle_config.proto, read in bundle_factory_util.cc and .h.
BATCHING = {
    "max_batch_size": ".google.protobuf.Int64Value",
    "batch_timeout_micros": ".google.protobuf.Int64Value",
    "max_enqueued_batches": ".google.protobuf.Int64Value",
    "num_batch_threads": ".google.protobuf.Int64Value",
    "thread_pool_name": ".google.protobuf.StringValue",
    "allowed_batch_sizes": "repeated int64",
    "pad_variable_length_inputs": "bool",
    "enable_large_batch_splitting": ".google.protobuf.BoolValue",
    "max_execution_batch_size": ".google.protobuf.Int64Value",
}
PROMETHEUS = {"enable": "bool", "path": "string"}  # config/monitoring_config.proto
# config/ssl_config.proto
SSL = {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"}


def text(name: str) -> str:
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def message(**messages):
    """An empty proto with the fields of the last of ``messages``: {field: type} by name; types may be earlier names."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_serving_config.proto", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    for name, fields in messages.items():
        described = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            scalar, repeated = kind.split()[-1], kind.startswith("repeated")
            added = described.field.add(name=field, number=number, label=3 if repeated else 1)
            if scalar.startswith("."):
                added.type, added.type_name = added.TYPE_MESSAGE, scalar
            else:
                added.type = getattr(added, f"TYPE_{scalar.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def models() -> model_server_config_pb2.ModelConfig:
    found = text_format.Parse(text("models.config"), model_server_config_pb2.ModelServerConfig())
    (config,) = found.model_config_list.config
    return config
