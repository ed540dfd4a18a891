"""Many runs: the study file, and how its runs are trained, here or on a cluster."""
