"""Train vision-language models under differential privacy, attack them, and compare three numbers.

The epsilon that the accountant promises, the epsilon that attacks refute, and the utility that was bought.
"""

from importlib.metadata import version

__version__ = version("dpaudit")
