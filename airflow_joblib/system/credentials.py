"""URLs without the credentials that they may have, for logs and errors."""

from __future__ import annotations

import re

__all__ = ["without_credentials"]

#: ``user:password@`` of a URL. The password may have characters that should have been quoted.
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^/\s]*@")
_PASSWORD_WITH_SLASH = re.compile(r"(?<=://)([^:/@\s]*):(?!\d+(?:[/?#\s]|$)|\*\*\*@)[^@\s]*@")
#: What a query, or the parameters of a file system, call a credential.
_PARAMETER = re.compile(r"(?i)([?&;][\w.-]*(?:token|key|secret|sig|signature|passw|pwd|auth|cred)[\w.-]*=)[^&;#\s]+")


def without_credentials(text: str) -> str:
    """Return *text* with the passwords in its URLs masked; a name of a user, or of a connection, stays."""
    text = _PASSWORD.sub(r"\1:***@", text)
    text = _PASSWORD_WITH_SLASH.sub(r"\1:***@", text)
    return _PARAMETER.sub(r"\1***", text)
