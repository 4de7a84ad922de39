/* The board's facts, read below any root, so that tests can bring a /proc and /sys of their own. */
#ifndef ESKER_BOARD_H
#define ESKER_BOARD_H

#include <esker/device.h>

/** Read what `root`/proc and `root`/sys say; "" is this machine. Unknown numbers are -1, unknown texts "". */
void esker__board_read(const char *root, esker_board_info *out);

#endif
