/*
 * The headers of tensors, which handles point at. They lie in memory of the process that is never given back, and one that was
 * released rests while at least 1,024 others are released, so that a handle can be looked at when its tensor is gone: a release
 * too many, or a use after the release, is found and named, without reading memory that is somebody else's. What cannot be found:
 * a handle that is used after its header was given to a new tensor.
 *
 * Any thread.
 */
#ifndef ESKER_TENSOR_HANDLES_H
#define ESKER_TENSOR_HANDLES_H

#include "tensor/tensor.h"

/** A header, zero but for one reference, the device and the next generation; NULL when memory ran out. */
esker_tensor *esker__tensor_begin(esker_device *dev);
/** Back, with no references. The label, from esker__malloc or NULL, stays to be named until the header is used again. */
void esker__tensor_end(esker_tensor *tensor);

/** esker__tensor_check(), and the message goes to the log, too: for functions that return no status. */
esker_status esker__tensor_misused(const esker_tensor *tensor, const char *what);

/** Say in the log which tensors of a device are alive (count, bytes, and some by name), or that `n_left` other things are. */
void esker__tensors_report(const esker_device *dev, int n_left);

#endif
