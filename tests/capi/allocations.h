/* Makes allocations of this program fail, those of every library in it included, and counts what
 * is allocated. */
#ifndef PENSEE_TESTS_ALLOCATIONS_H
#define PENSEE_TESTS_ALLOCATIONS_H

/* From now on, the `number`-th allocation fails (1: the next), and if `and_later` all after it. */
void fail_allocation(long number, int and_later);
/* No more fail. Returns how many did since fail_allocation(). */
long stop_failing(void);
/* How many failed since fail_allocation(). */
long failed_allocations(void);
/* Blocks allocated and not freed. */
long live_blocks(void);

#endif
