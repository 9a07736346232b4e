package loop

// rate is the learning rate of update t (from 0) of steps: linear from 0 over warmup updates, then linear
// to decayRatio·lr, which the update after the last would have (method.md 2.4). With a warm-up the first
// update has rate 0.
func rate(t, steps, warmup int, lr, decayRatio float64) float64 {
	if t < warmup {
		return lr * float64(t) / float64(warmup)
	}
	return lr * (1 - (1-decayRatio)*float64(t-warmup)/float64(steps-warmup))
}
