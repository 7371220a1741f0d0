// Classifies one image with a depth of a .tflite file, with LiteRT's C API alone.
//
//     ./classify bundle_int8.tflite depth_18 pixels.bin
//
// pixels.bin has the bytes 0..255 of one image, row by row. The first line printed is the class's index, the second one
// the logits. The signature of a file of one depth is serving_default.

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What is used of LiteRT's public headers, litert/c/*.h. The Python package has the library without its headers.
typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtSignatureT *LiteRtSignature;
typedef struct LiteRtTensorT *LiteRtTensor;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;
typedef struct { int tag; struct { int type; union { int64_t integer; void *pointer; }; } value; } LiteRtEnvOption;
typedef struct { unsigned int rank : 7, has_strides : 1; int32_t dimensions[8]; uint32_t strides[8]; } LiteRtLayout;
typedef struct { int element_type; LiteRtLayout layout; } LiteRtRankedTensorType;
typedef struct { float scale; int64_t zero_point; } LiteRtQuantizationPerTensor;
enum { MIN_LOGGER_SEVERITY = 25, INTEGER = 2, ERRORS = 3, CPU = 1, HOST_MEMORY = 1, READ = 0, WRITE = 1 };
enum { FLOAT32 = 1, UINT8 = 3, INT16 = 7, INT8 = 9 };
int LiteRtCreateEnvironment(int num_options, const LiteRtEnvOption *, LiteRtEnvironment *);
int LiteRtCreateOptions(LiteRtOptions *);
int LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int accelerators);
int LiteRtCreateModelFromBuffer(LiteRtEnvironment, const void *, size_t size, LiteRtModel *);
int LiteRtGetModelSignature(LiteRtModel, size_t index, LiteRtSignature *);
int LiteRtGetSignatureKey(LiteRtSignature, const char **);
int LiteRtGetSignatureInputTensorByIndex(LiteRtSignature, size_t index, LiteRtTensor *);
int LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature, size_t index, LiteRtTensor *);
int LiteRtGetRankedTensorType(LiteRtTensor, LiteRtRankedTensorType *);
int LiteRtGetPerTensorQuantization(LiteRtTensor, LiteRtQuantizationPerTensor *);
int LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel *);
int LiteRtCreateManagedTensorBuffer(LiteRtEnvironment, int kind, const LiteRtRankedTensorType *, size_t size,
                                    LiteRtTensorBuffer *);
int LiteRtLockTensorBuffer(LiteRtTensorBuffer, void **memory, int mode);
int LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
int LiteRtRunCompiledModel(LiteRtCompiledModel, size_t signature, size_t num_inputs, LiteRtTensorBuffer *,
                           size_t num_outputs, LiteRtTensorBuffer *);

#define STOP(...) (fprintf(stderr, "classify: " __VA_ARGS__), fputc('\n', stderr), exit(2))
#define CHECK(call) do { int status = (call); if (status) STOP("LiteRT's status %d from %s", status, #call); } while (0)

static void *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) STOP("cannot read %s", path);
  *size = ftell(file);
  rewind(file);
  void *content = aligned_alloc(64, (*size + 64) / 64 * 64);  // weights are used where they lie
  if (!content || fread(content, 1, *size, file) != *size) STOP("cannot read %s", path);
  fclose(file);
  return content;
}

// An input or output: its shape and type, what one step of an integer means, and its memory.
typedef struct {
  LiteRtRankedTensorType type;
  LiteRtQuantizationPerTensor steps;
  LiteRtTensorBuffer buffer;
  size_t length;
} Tensor;

static Tensor tensor_of(LiteRtEnvironment environment, LiteRtTensor source) {
  Tensor tensor = {.steps = {1, 0}, .length = 1};
  CHECK(LiteRtGetRankedTensorType(source, &tensor.type));
  for (unsigned int axis = 0; axis < tensor.type.layout.rank; axis++)
    tensor.length *= tensor.type.layout.dimensions[axis];
  int kind = tensor.type.element_type, bytes = kind == FLOAT32 ? 4 : kind == INT16 ? 2 : 1;
  if (kind != FLOAT32 && kind != INT16 && kind != UINT8 && kind != INT8) STOP("cannot convert LiteRT's type %d", kind);
  if (kind != FLOAT32) CHECK(LiteRtGetPerTensorQuantization(source, &tensor.steps));
  CHECK(LiteRtCreateManagedTensorBuffer(environment, HOST_MEMORY, &tensor.type, bytes * tensor.length, &tensor.buffer));
  return tensor;
}

static void store(const Tensor *tensor, void *memory, size_t index, float value) {
  float integer = rintf(value / tensor->steps.scale) + tensor->steps.zero_point;
  switch (tensor->type.element_type) {
    case INT8: ((int8_t *)memory)[index] = fminf(fmaxf(integer, INT8_MIN), INT8_MAX); break;
    case UINT8: ((uint8_t *)memory)[index] = fminf(fmaxf(integer, 0), UINT8_MAX); break;
    case INT16: ((int16_t *)memory)[index] = fminf(fmaxf(integer, INT16_MIN), INT16_MAX); break;
    default: ((float *)memory)[index] = value;
  }
}

static float load(const Tensor *tensor, const void *memory, size_t index) {
  float integer;
  switch (tensor->type.element_type) {
    case INT8: integer = ((const int8_t *)memory)[index]; break;
    case UINT8: integer = ((const uint8_t *)memory)[index]; break;
    case INT16: integer = ((const int16_t *)memory)[index]; break;
    default: return ((const float *)memory)[index];
  }
  return (integer - tensor->steps.zero_point) * tensor->steps.scale;
}

int main(int count, char **arguments) {
  if (count != 4) STOP("must be called with FILE.tflite SIGNATURE PIXELS");
  size_t size, num_pixels, chosen = 0;
  void *content = read_file(arguments[1], &size), *memory;
  uint8_t *pixels = read_file(arguments[3], &num_pixels);

  LiteRtEnvironment environment;
  LiteRtOptions options;
  LiteRtModel model;
  LiteRtEnvOption quiet = {MIN_LOGGER_SEVERITY, {INTEGER, {ERRORS}}};
  CHECK(LiteRtCreateEnvironment(1, &quiet, &environment));
  CHECK(LiteRtCreateOptions(&options));
  CHECK(LiteRtSetOptionsHardwareAccelerators(options, CPU));
  CHECK(LiteRtCreateModelFromBuffer(environment, content, size, &model));

  LiteRtSignature signature;
  for (const char *key = ""; strcmp(key, arguments[2]); chosen++) {
    if (LiteRtGetModelSignature(model, chosen, &signature)) STOP("%s has no signature %s", arguments[1], arguments[2]);
    CHECK(LiteRtGetSignatureKey(signature, &key));
  }
  chosen--;
  LiteRtTensor source;
  CHECK(LiteRtGetSignatureInputTensorByIndex(signature, 0, &source));
  Tensor input = tensor_of(environment, source);
  CHECK(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &source));
  Tensor output = tensor_of(environment, source);
  if (num_pixels != input.length) STOP("%s must have %zu bytes", arguments[3], input.length);

  LiteRtCompiledModel compiled;
  CHECK(LiteRtCreateCompiledModel(environment, model, options, &compiled));
  CHECK(LiteRtLockTensorBuffer(input.buffer, &memory, WRITE));
  for (size_t index = 0; index < num_pixels; index++) store(&input, memory, index, pixels[index]);
  CHECK(LiteRtUnlockTensorBuffer(input.buffer));
  CHECK(LiteRtRunCompiledModel(compiled, chosen, 1, &input.buffer, 1, &output.buffer));

  CHECK(LiteRtLockTensorBuffer(output.buffer, &memory, READ));
  size_t best = 0;
  for (size_t index = 1; index < output.length; index++)
    if (load(&output, memory, index) > load(&output, memory, best)) best = index;
  printf("%zu\n", best);
  for (size_t index = 0; index < output.length; index++) printf("%.9g ", load(&output, memory, index));
  printf("\n");
}
