"""The engine that clips in one backward pass: what a layer saw and what came back are kept, weights are done last."""
