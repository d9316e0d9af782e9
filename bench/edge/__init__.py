"""The edge beside a bare chain of the same hops, and what recording costs."""
