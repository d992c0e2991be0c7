"""Payment providers over real HTTP, which refuse what the real ones refuse and keep what they are told.

Both sign what they send as documented. A test can let them repeat, reorder, lose and tamper with deliveries.
"""

import base64
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

POLAR_SECRET = "whsec_" + base64.b64encode(b"p" * 32).decode()
STRIPE_SECRET = "whsec_stripe_secret_of_a_test"


def sign_polar(
    body: bytes,
    *,
    secret: str = POLAR_SECRET,
    sender_id: str = "msg_1",
    sent_at: float | None = None,
    with_text_key: bool = False,
) -> dict[str, str]:
    """Return the headers of a delivery as Standard Webhooks signs it; `with_text_key` uses the secret's own bytes."""
    moment = str(int(time.time() if sent_at is None else sent_at))
    key = secret.encode() if with_text_key else base64.b64decode(secret.removeprefix("whsec_"))
    signed = b"%s.%s.%s" % (sender_id.encode(), moment.encode(), body)
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": sender_id, "webhook-timestamp": moment, "webhook-signature": f"v1,{mac}"}


def sign_stripe(body: bytes, *, secret: str = STRIPE_SECRET, sent_at: float | None = None) -> dict[str, str]:
    moment = str(int(time.time() if sent_at is None else sent_at))
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={moment},v1={mac}"}


@dataclass
class PaymentServer:
    """A payment provider: `polar` takes JSON and knows customers by our ids, `stripe` takes forms and its own ids."""

    kind: str
    token: str = "token-of-a-test"
    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    products: set[str] = field(default_factory=lambda: {"prod_pro"})
    customers: set[str] = field(default_factory=set)
    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    payments: list[dict[str, Any]] = field(default_factory=list)
    is_broken: bool = False
    invoice_after: int = 1  # how often an invoice is looked for before it is there

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(server.moment().timestamp(), usegmt=True)

            def do_GET(self) -> None:
                self._answer("GET", {})

            def do_PATCH(self) -> None:
                self._with_body("PATCH")

            def do_POST(self) -> None:
                self._with_body("POST")

            def _with_body(self, method: str) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                kind = self.headers.get("Content-Type", "").partition(";")[0]
                wanted = "application/json" if server.kind == "polar" else "application/x-www-form-urlencoded"
                if text and kind != wanted:
                    return self._send(415, {"detail": f"{kind} is not {wanted}"})
                fields = json.loads(text or "{}") if server.kind == "polar" else _form(text)
                return self._answer(method, fields)

            def _answer(self, method: str, fields: dict[str, Any]) -> None:
                if server.is_broken:
                    return self._send(500, {"detail": "broken"})
                if self.headers.get("Authorization") != f"Bearer {server.token}":
                    return self._send(401, {"detail": "Unauthorized"})
                parts = urlsplit(self.path)
                server.requests.append((method, parts.path, fields))
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, answer = server.answer(method, parts.path, fields, query, next(numbers))
                return self._send(status, answer)

            def _send(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def moment(self) -> datetime:
        """Return the time by the provider's own clock, which its answers carry."""
        return datetime.now(UTC)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(
        self, method: str, path: str, fields: Mapping[str, Any], query: Mapping[str, str], number: int
    ) -> tuple[int, Any]:
        if self.kind == "polar":
            return self._polar(method, path, fields, query, number)
        return self._stripe(method, path, fields, query, number)

    def _polar(
        self, method: str, path: str, fields: Mapping[str, Any], query: Mapping[str, str], number: int
    ) -> tuple[int, Any]:
        match method, path:
            case "POST", "/v1/checkouts/":
                unknown = [name for name in fields.get("products", [None]) if name not in self.products]
                if unknown:
                    return 422, {"error": "RequestValidationError", "detail": [{"loc": ["body", "products"]}]}
                self.customers.add(str(fields["external_customer_id"]))
                return 201, {"id": f"co_{number}", "url": f"{self.url}/checkout/{number}", "status": "open"}
            case "POST", "/v1/customer-sessions/":
                if fields.get("external_customer_id") not in self.customers:
                    return 422, {"error": "RequestValidationError", "detail": "Customer does not exist."}
                return 201, {"customer_portal_url": f"{self.url}/portal/{number}"}
            case "GET", "/v1/subscriptions/":
                return 200, self._page(self.subscriptions, query)
            case "GET", "/v1/orders/":
                return 200, self._page(self.payments, query)
            case _, _ if path.startswith("/v1/orders/") and path.endswith("/invoice"):
                return self._polar_invoice(method, path.split("/")[3])
            case "PATCH", _ if path.startswith("/v1/subscriptions/"):
                return self._polar_update(path.rpartition("/")[2], fields)
        return 404, {"error": "ResourceNotFound", "detail": "Not found"}

    def _polar_invoice(self, method: str, order_id: str) -> tuple[int, Any]:
        """Make an invoice only after it was asked for, and not at once."""
        order = next((item for item in self.payments if item["id"] == order_id), None)
        if order is None:
            return 404, {"error": "ResourceNotFound", "detail": "Not found"}
        if method == "POST":
            if not order["paid"]:
                return 422, {"error": "NotPaidOrder", "detail": "Order is not paid."}
            if not order.get("billing_name") or not order.get("billing_address"):
                return 422, {"error": "MissingInvoiceBillingDetails", "detail": "Billing details are missing."}
            order["invoice_in"] = self.invoice_after
            return 202, None
        if order.get("invoice_in") != 0:
            order["invoice_in"] = order["invoice_in"] - 1 if "invoice_in" in order else None
            if order["invoice_in"] is None:
                del order["invoice_in"]
            return 404, {"error": "ResourceNotFound", "detail": "Invoice not found"}
        return 200, {"url": f"{self.url}/invoices/{order_id}.pdf"}

    def _polar_update(self, subscription_id: str, fields: Mapping[str, Any]) -> tuple[int, Any]:
        subscription = self._find(subscription_id)
        if subscription is None:
            return 404, {"error": "ResourceNotFound", "detail": "Not found"}
        if fields.keys() not in ({"cancel_at_period_end"}, {"product_id"}, {"product_id", "proration_behavior"}):
            return 422, {"error": "RequestValidationError", "detail": [{"loc": ["body"]}]}
        if subscription.get("ended_at") or fields.get("cancel_at_period_end") is subscription["cancel_at_period_end"]:
            return 403, {"error": "AlreadyCanceledSubscription", "detail": "This subscription is already canceled."}
        if "product_id" in fields and fields["product_id"] not in self.products:
            return 422, {"error": "RequestValidationError", "detail": [{"loc": ["body", "product_id"]}]}
        is_cancelled = fields.get("cancel_at_period_end", subscription["cancel_at_period_end"])
        ends_at = subscription["current_period_end"] if is_cancelled else None
        modified_at = datetime.now(UTC).isoformat()
        subscription |= {name: fields[name] for name in fields if name != "proration_behavior"} | {
            "ends_at": ends_at,
            "canceled_at": modified_at if is_cancelled else None,
        }
        subscription["modified_at"] = modified_at
        return 200, subscription

    def _find(self, subscription_id: str) -> dict[str, Any] | None:
        return next((item for item in self.subscriptions if item["id"] == subscription_id), None)

    def _page(self, items: list[dict[str, Any]], query: Mapping[str, str]) -> Any:
        page, limit = int(query.get("page", 1)), int(query.get("limit", 10))
        shown = items[(page - 1) * limit : page * limit]
        pages = max(1, -(-len(items) // limit))
        return {"items": shown, "pagination": {"total_count": len(items), "max_page": pages}}

    def _stripe(
        self, method: str, path: str, fields: Mapping[str, Any], query: Mapping[str, str], number: int
    ) -> tuple[int, Any]:
        match method, path:
            case "POST", "/v1/checkout/sessions":
                if fields.get("line_items[0][price]") not in self.products:
                    return 400, {"error": {"type": "invalid_request_error", "message": "No such price"}}
                if fields.get("mode") != "subscription" or "success_url" not in fields:
                    return 400, {"error": {"type": "invalid_request_error", "message": "Missing required param"}}
                return 200, {"id": f"cs_{number}", "url": f"{self.url}/c/{number}"}
            case "POST", "/v1/billing_portal/sessions":
                if fields.get("customer") not in self.customers:
                    return 400, {"error": {"type": "invalid_request_error", "message": "No such customer"}}
                return 200, {"id": f"bps_{number}", "url": f"{self.url}/p/{number}"}
            case "GET", "/v1/subscriptions":
                # Without `status=all`, ended ones are left out.
                items = [
                    item for item in self.subscriptions if query.get("status") == "all" or item["status"] != "canceled"
                ]
                return 200, self._list(items, query)
            case _, _ if path.startswith("/v1/subscriptions/"):
                return self._stripe_update(method, path.rpartition("/")[2], fields)
            case "GET", "/v1/invoices":
                return 200, self._list(self.payments, query)
            case "GET", _ if path.startswith("/v1/invoices/"):
                invoice = next((item for item in self.payments if item["id"] == path.rpartition("/")[2]), None)
                missing = {"error": {"type": "invalid_request_error", "message": "No such invoice"}}
                return (200, invoice) if invoice is not None else (404, missing)
        return 404, {"error": {"type": "invalid_request_error", "message": f"Unrecognized request URL ({path})"}}

    def _stripe_update(self, method: str, subscription_id: str, fields: Mapping[str, Any]) -> tuple[int, Any]:
        def refuse(message: str, status: int = 400) -> tuple[int, Any]:
            return status, {"error": {"type": "invalid_request_error", "message": message}}

        subscription = self._find(subscription_id)
        if subscription is None:
            return refuse("No such subscription", 404)
        if method == "GET":
            return 200, subscription
        if subscription["status"] == "canceled":
            return refuse("A canceled subscription can only update its cancellation_details and metadata.")
        item = subscription["items"]["data"][0]
        if "items[0][price]" in fields:
            if fields["items[0][price]"] not in self.products:
                return refuse("No such price")
            if fields.get("items[0][id]") != item["id"]:  # without its id, it would be a second item
                return refuse("Cannot add multiple subscription items with the same plan")
            item["price"] = {**item["price"], "id": fields["items[0][price]"]}
        if "cancel_at_period_end" in fields:
            is_cancelled = fields["cancel_at_period_end"] == "true"
            subscription["cancel_at_period_end"] = is_cancelled
            subscription["cancel_at"] = item["current_period_end"] if is_cancelled else None
        return 200, subscription

    def _list(self, items: list[dict[str, Any]], query: Mapping[str, str]) -> Any:
        after = query.get("starting_after")
        begin = next((place + 1 for place, item in enumerate(items) if item["id"] == after), 0)
        limit = int(query.get("limit", 10))
        return {"object": "list", "data": items[begin : begin + limit], "has_more": begin + limit < len(items)}


def _form(text: str) -> dict[str, Any]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
