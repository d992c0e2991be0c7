"""Errors of accounts."""

from tertulia.errors import Conflict, Forbidden, Invalid, NotFound, TooMany, Unauthenticated


class WrongCredentials(Unauthenticated):
    code = "wrong_credentials"

    def __init__(self) -> None:
        super().__init__("The user name or password is wrong. Try again.")


class AlreadySetUp(Conflict):
    code = "already_set_up"

    def __init__(self) -> None:
        super().__init__("The first account already exists. Sign in with it.")


class UsernameTaken(Conflict):
    code = "username_taken"

    def __init__(self) -> None:
        super().__init__("This user name or e-mail address is already taken. Choose another.")


class TooManyFavourites(Conflict):
    code = "too_many_favourites"

    def __init__(self, most: int) -> None:
        super().__init__(f"You have {most} favourite models already. Remove one first.")


class TooManyWindows(Conflict):
    code = "too_many_windows"

    def __init__(self, most: int) -> None:
        super().__init__(f"You have set the windows of {most} models already. Empty that of another model first.")


class WeakPassword(Invalid):
    code = "weak_password"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)


class InsecureConnection(Forbidden):
    code = "insecure_connection"

    def __init__(self) -> None:
        super().__init__(
            "Signing in requires HTTPS, except on the server itself. Put a TLS proxy in front of Tertulia and set "
            "TERTULIA_PUBLIC_URL."
        )


class ConfirmationNeeded(Forbidden):
    code = "confirmation_needed"

    def __init__(self) -> None:
        super().__init__("Enter your password to do this. You last entered it more than ten minutes ago.")


class WrongPassword(Invalid):
    code = "wrong_password"

    def __init__(self, field: str = "password") -> None:
        super().__init__("The password is wrong. Try again.", field=field)


class LastAdmin(Conflict):
    code = "last_admin"

    def __init__(self) -> None:
        super().__init__("This is the only administrator. Make another user an administrator first.")


class SessionNotFound(NotFound):
    code = "session_not_found"


class ApiTokenNotFound(NotFound):
    code = "api_token_not_found"


class TooManyTokens(Conflict):
    code = "too_many_tokens"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You already have {limit} API tokens. Revoke one first.", limit=limit)


class UserNotFound(NotFound):
    code = "user_not_found"


class IdempotencyKeyReused(Invalid):
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for another call. Use a new one.", field="Idempotency-Key")


class TooManyStreams(TooMany):
    code = "too_many_streams"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You already have {limit} live streams open. Close a window.", retry_after_s=5, limit=limit)


class ShareNotFound(NotFound):
    """Missing, revoked, expired, or not for this user. All look the same."""

    code = "share_not_found"

    def __init__(self) -> None:
        super().__init__("This link is not valid. It was revoked, has expired, or never existed.")


class ShareTooWide(Invalid):
    code = "share_too_wide"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="permissions")


class ShareRecipientUnknown(Invalid):
    code = "person_unknown"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="shared_with_username")


class ShareExpired(Invalid):
    code = "share_expired"

    def __init__(self) -> None:
        super().__init__("The expiry time is in the past. Choose a later one.", field="expires_at")
