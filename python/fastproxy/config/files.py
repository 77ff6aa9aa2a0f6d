"""Names of files in the configuration: relative ones start where the configuration's file lies."""

from typing import Self

__all__ = ["FilePath"]


class FilePath(str):
    """A file that is read by the native side; the reader makes it absolute."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Take a path.

        Raises:
            ValueError: it is no string, or empty.
        """
        if not isinstance(text, str) or "\0" in text:
            msg = "must be the path of a file"
            raise ValueError(msg)
        if not text:
            msg = "is empty; write the path of a file"
            raise ValueError(msg)
        return cls(text)
