/*
 * Draw what a trained model takes held-out images for:
 *
 *   digits_picture CHECKPOINT.safetensors OUT.png [DATA]          DATA: digits (the default), mnist:DIR
 *
 * Inference with graph and plan, without a trainer: read a model, record it for one batch, compile, run, read the result.
 */
#include <stdio.h>
#include <stdlib.h>

#include <esker/checkpoint.h>
#include <esker/dataset.h>
#include <esker/device.h>
#include <esker/model.h>
#include <esker/picture.h>
#include <esker/plan.h>

enum { N_IMAGES = 96, COLUMNS = 12 };

/* Captions for the images and how many predictions are right; `p` is [N_IMAGES, n_classes]. */
static int judge(const float *p, const int32_t *labels, int n_classes, char (*texts)[24], esker_tone *tones)
{
    int n_right = 0;
    for (int i = 0; i < N_IMAGES; i++, p += n_classes) {
        int best = 0;
        for (int c = 1; c < n_classes; c++)
            if (p[c] > p[best]) best = c;
        bool right = best == labels[i];
        n_right += right;
        tones[i] = right ? ESKER_TONE_GOOD : ESKER_TONE_BAD;
        if (right)
            snprintf(texts[i], sizeof texts[i], "%d  %.0f%%", best, 100 * (double)p[best]);
        else
            snprintf(texts[i], sizeof texts[i], "%d (is %d)", best, (int)labels[i]);
    }
    return n_right;
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s CHECKPOINT.safetensors OUT.png [DATA]\n", argv[0]);
        return 2;
    }
    esker_device *dev = NULL;
    esker_model *net = NULL;
    esker_dataset *all = NULL, *some = NULL;
    esker_graph *graph = NULL;
    esker_plan *plan = NULL;
    float *p = NULL;
    int failed = 1;

    if (esker_device_open(NULL, &dev) != ESKER_OK) goto done;
    if (esker_model_load(argv[1], &net) != ESKER_OK) goto done;
    if (esker_dataset_open(argc > 3 ? argv[3] : "digits", ESKER_SPLIT_TEST, &all) != ESKER_OK) goto done;
    if (esker_dataset_subset(all, 0, N_IMAGES, &some) != ESKER_OK) goto done;
    esker_dataset_info data;
    esker_dataset_get_info(some, &data);

    /* The model for one batch of bytes, and probabilities behind it. */
    esker_node *y = NULL;
    esker_instance_desc instance = {.batch = N_IMAGES, .mode = ESKER_MODE_INFER, .input_dtype = data.sample_dtype};
    if (esker_model_instantiate(net, &instance, &graph, NULL, &y) != ESKER_OK) goto done;
    y = esker_softmax(y, -1);
    if (esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan) != ESKER_OK)
        goto done;

    int n_classes = (int)esker_node_get_shape(y)->dims[1];
    size_t p_bytes = sizeof *p * (size_t)(N_IMAGES * n_classes);
    p = malloc(p_bytes);
    if (!p) goto done;
    uint64_t ticket;
    if (esker_plan_write(plan, 0, data.samples, N_IMAGES * data.sample_bytes) != ESKER_OK) goto done;
    if (esker_plan_submit(plan, &ticket) != ESKER_OK) goto done;
    if (esker_plan_read(plan, ticket, 0, p, p_bytes) != ESKER_OK) goto done;

    char texts[N_IMAGES][24];
    const char *captions[N_IMAGES];
    esker_tone tones[N_IMAGES];
    for (int i = 0; i < N_IMAGES; i++) captions[i] = texts[i];
    int n_right = judge(p, data.labels, n_classes, texts, tones);
    esker_picture_desc sheet = {.images = data.samples,
                                .n_images = N_IMAGES,
                                .channels = (int)data.sample_shape.dims[0],
                                .height = (int)data.sample_shape.dims[1],
                                .width = (int)data.sample_shape.dims[2],
                                .captions = captions,
                                .tones = tones,
                                .columns = COLUMNS};
    if (esker_picture_write(argv[2], &sheet) != ESKER_OK) goto done;
    printf("%s: %d of %d held-out images are named right\n", argv[2], n_right, (int)N_IMAGES);
    failed = 0;
done:
    if (failed) fprintf(stderr, "digits_picture: %s\n", esker_last_error());
    free(p);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    esker_dataset_unref(some);
    esker_dataset_unref(all);
    esker_model_destroy(net);
    esker_device_unref(dev);
    return failed;
}
