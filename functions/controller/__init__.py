"""The controller: a scheduled function that moves rollouts on, or back, by what it observes."""
