/* Options of esker train that are more than a number or a name. */
#ifndef ESKER_CLI_TRAIN_OPTIONS_H
#define ESKER_CLI_TRAIN_OPTIONS_H

#include "cli.h"

/** "1,0.5,2" to numbers. The array is the caller's, free(). Tells errors. */
bool train_read_weights(const cli_command *command, const char *text, float **out, int *out_n);

/** The settings of `list`, "1:lr_scale=0.1,weight_decay=0" and so on, into `groups`. Tells errors. */
bool train_read_groups(const cli_command *command, const cli_list *list, esker_param_group groups[ESKER_MAX_PARAM_GROUPS]);
/** What of `list` names parameters, "1:params=*.bias": put them into the group. Tells errors. */
bool train_apply_groups(const cli_command *command, const cli_list *list, esker_params *params);

#endif
