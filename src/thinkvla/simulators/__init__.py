"""What runs inside the interpreters of other simulators' environments: LIBERO, LIBERO-Plus, SimplerEnv."""
