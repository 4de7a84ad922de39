#include "plan/accesses.h"

#include "base/fail.h"

void esker__remember(const esker_plan *plan, esker__accesses *all, int dispatch)
{
    const esker__plan_dispatch *d = &plan->dispatches[dispatch];
    for (int o = 0; o < d->n_operands; o++) {
        int *head = (d->operands[o].write ? all->writes : all->reads) + esker__bucket_of(plan, &d->operands[o]);
        all->list[all->n] = (esker__access){dispatch, o, *head};
        *head = all->n++;
    }
}

esker_status esker__accesses_init(const esker_plan *plan, esker__accesses *all)
{
    size_t n_buckets = plan->n_values + (size_t)esker__plan_n_storages(plan), n = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++) n += (size_t)plan->dispatches[p].n_operands;
    *all = (esker__accesses){.list = esker__malloc((n + 1) * sizeof *all->list),
                             .reads = esker__malloc(n_buckets * sizeof *all->reads),
                             .writes = esker__malloc(n_buckets * sizeof *all->writes)};
    for (size_t i = 0; all->reads && all->writes && i < n_buckets; i++) all->reads[i] = all->writes[i] = -1;
    return all->list && all->reads && all->writes ? ESKER_OK : esker__fail_memory(n * sizeof *all->list, "plan");
}

void esker__accesses_finish(esker__accesses *all)
{
    esker__free(all->list);
    esker__free(all->reads);
    esker__free(all->writes);
}
