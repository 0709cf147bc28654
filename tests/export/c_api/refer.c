/* Runs a SavedModel without Python, through TensorFlow's C API, as TF Serving does through C++.
 *
 *   refer MODEL_DIR IMAGE SUBJECT RELATION OBJECT OUTPUT INPUT_OP... : one query about one image
 *
 * INPUT_OP: names of the graph operations that take image, subject, relation and object; OUTPUT: "operation:index" of
 * the float tensor whose values are printed, one a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static TF_Status *status;

static void check(const char *what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: code %d: %s\n", what, TF_GetCode(status), TF_Message(status));
    exit(1);
  }
}

static TF_Output find(TF_Graph *graph, const char *name, int index) {
  TF_Output output = {TF_GraphOperationByName(graph, name), index};
  if (output.oper == NULL) {
    fprintf(stderr, "no operation %s\n", name);
    exit(1);
  }
  return output;
}

static TF_Tensor *string_tensor(const char *bytes, size_t size, int rank) {
  const int64_t shape[2] = {1, 1};
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, shape, rank, sizeof(TF_TString));
  TF_TString *value = TF_TensorData(tensor);
  TF_StringInit(value);
  TF_StringCopy(value, bytes, size);
  return tensor;
}

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(*size);
  if (fread(bytes, 1, *size, file) != *size) exit(1);
  fclose(file);
  return bytes;
}

int main(int argc, char **argv) {
  if (argc != 11) {
    fprintf(stderr, "usage: refer MODEL_DIR IMAGE SUBJECT RELATION OBJECT OUTPUT INPUT_OP (4)\n");
    return 2;
  }
  status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check("loading");

  size_t size;
  char *image = read_file(argv[2], &size);
  TF_Output inputs[4];
  TF_Tensor *values[4] = {string_tensor(image, size, 1)};
  for (int k = 0; k < 4; ++k) inputs[k] = find(graph, argv[7 + k], 0);
  for (int k = 1; k < 4; ++k) values[k] = string_tensor(argv[2 + k], strlen(argv[2 + k]), 2);

  char *colon = strrchr(argv[6], ':');
  *colon = '\0';
  TF_Output output = find(graph, argv[6], atoi(colon + 1));
  TF_Tensor *result = NULL;
  TF_SessionRun(session, NULL, inputs, values, 4, &output, &result, 1, NULL, 0, NULL, status);
  check("running");

  const float *numbers = TF_TensorData(result);
  for (int64_t k = 0; k < TF_TensorElementCount(result); ++k) printf("%.9g\n", numbers[k]);
  return 0;
}
