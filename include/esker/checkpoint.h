/**
 * Checkpoints: models in safetensors files.
 *
 * A file holds the model as JSON (metadata key "esker.model"), the model's other metadata, and every parameter as a float32
 * tensor under its name, so it is complete by itself and opens in every program that reads safetensors:
 *
 *   safetensors.torch.load_file("digits.safetensors")["conv1.weight"]
 *
 * Format     https://github.com/huggingface/safetensors: 8 bytes little-endian header length, a JSON header padded with
 * spaces so that the data begins at a multiple of 8, then the tensors without gaps, here in the order of the parameters.
 * Threads    The thread that uses the model; once a plan uses its parameters, the thread that owns the device. Loading needs no device: where the
 *            first result is wanted soon, one thread can load while another opens the device, in which some drivers spend 60 ms.
 */
#ifndef ESKER_CHECKPOINT_H
#define ESKER_CHECKPOINT_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Write the model to `path`: beside it first, synced, then renamed over it, so that an older file stays whole if anything
 * fails.
 * Errors     ESKER_ERR_IO with errno's text; ESKER_ERR_UNSUPPORTED and ESKER_ERR_INVALID as esker_model_to_json();
 *            what reading the parameters from the device may give; ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_model_save(esker_model *net, const char *path);

/**
 * The same without the model as JSON: weights and metadata, for models with layers or operations of the program's own,
 * which JSON has no word for. The program that made the model makes it again and calls esker_model_load_weights();
 * esker_model_load() refuses the file.
 * Errors     As esker_model_save(), never ESKER_ERR_UNSUPPORTED.
 */
ESKER_API esker_status esker_model_save_weights(esker_model *net, const char *path);

/**
 * Make the model that a file holds, with its weights and metadata.
 * Errors     All name the file. ESKER_ERR_IO: cannot be opened or read. ESKER_ERR_FORMAT: shorter than its header says
 *            (both counts); a header length beyond the file or 100 MB; a header that is not JSON; an unknown element
 *            type; a shape that does not fit its bytes; tensors that overlap, leave gaps or reach out of the file; a name
 *            twice; no "esker.model"; a tensor that the model has not, lacks, or has in another shape.
 *            ESKER_ERR_UNSUPPORTED: tensors that are not float32, or built without libcjson. ESKER_ERR_NO_MEMORY. *out is
 *            NULL after any of them.
 */
ESKER_API esker_status esker_model_load(const char *path, esker_model **out);

/**
 * Copy the weights of a file into a model that exists already, for example weights that PyTorch saved ("esker.model" is not
 * needed). Names and shapes must agree. The model's metadata stays as it is.
 * Errors     As esker_model_load(). Nothing was changed then, unless writing to the device itself failed.
 */
ESKER_API esker_status esker_model_load_weights(esker_model *net, const char *path);

#ifdef __cplusplus
}
#endif
#endif
