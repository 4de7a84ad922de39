/* The mean image of each class as a crude classifier: it tells whether labels belong to their images, in whatever order. */
#ifndef ESKER_TESTS_DATA_CLASS_MEANS_H
#define ESKER_TESTS_DATA_CLASS_MEANS_H

#include <esker/dataset.h>

/** Images of `test` whose nearest mean of `train` is their own class's; 28 x 28 bytes, 10 classes. */
static inline int64_t class_means_right(const esker_dataset_info *train, const esker_dataset_info *test)
{
    enum { N_PIXELS = 784 };
    static double mean[10][N_PIXELS];
    int64_t n_of_class[10] = {0}, n_right = 0;
    const uint8_t *pixels = train->samples;
    memset(mean, 0, sizeof mean);
    for (int64_t i = 0; i < train->n_samples; i++) {
        n_of_class[train->labels[i]]++;
        for (int p = 0; p < N_PIXELS; p++) mean[train->labels[i]][p] += pixels[i * N_PIXELS + p];
    }
    for (int k = 0; k < 10; k++)
        for (int p = 0; p < N_PIXELS; p++) mean[k][p] /= (double)n_of_class[k];
    pixels = test->samples;
    for (int64_t i = 0; i < test->n_samples; i++) {
        int best = -1;
        double best_distance = 0;
        for (int k = 0; k < 10; k++) {
            double distance = 0;
            for (int p = 0; p < N_PIXELS; p++) {
                double d = pixels[i * N_PIXELS + p] - mean[k][p];
                distance += d * d;
            }
            if (best < 0 || distance < best_distance) {
                best = k;
                best_distance = distance;
            }
        }
        n_right += best == test->labels[i];
    }
    return n_right;
}

#endif
