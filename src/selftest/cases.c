/* Which operations the self-test runs, and on what: sizes around the groups of kernels (127, 128, 129), one element, odd ones, broadcasts. */
#include "selftest/case_rows.h"

#include <stddef.h>

const esker__case_row *esker__case_row_at(int index)
{
    static const esker__case_family *const families[] = {&esker__cases_elementwise, &esker__cases_matmul,
                                                         &esker__cases_conv,        &esker__cases_reduce,
                                                         &esker__cases_shape,       &esker__cases_training};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (index < families[i]->n) return &families[i]->rows[index];
        index -= families[i]->n;
    }
    return NULL;
}
