"""``python -m thinkvla``, which launchers of many processes start: ``torchrun -m thinkvla train ...``."""

from thinkvla.cli import main

if __name__ == "__main__":
    main()
