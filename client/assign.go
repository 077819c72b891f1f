package client

import "slices"

// average returns the queues that belong to one member of a group: each member gets a run of neighbours, the first
// ones get one more if it does not come out even. All members must come to the same result from the same lists, so
// both are sorted first. Source: Java AllocateMessageQueueAveragely.
func average(queues []Queue, members []string, me string) []Queue {
	queues, members = slices.Clone(queues), slices.Clone(members)
	slices.SortFunc(queues, compareQueues)
	slices.Sort(members)
	i := slices.Index(members, me)
	if i < 0 {
		return nil
	}
	each, more := len(queues)/len(members), len(queues)%len(members)
	from := i*each + min(i, more)
	to := from + each
	if i < more {
		to++
	}
	return queues[from:to]
}
