def is_refused(kind: type) -> bool:
    return False
