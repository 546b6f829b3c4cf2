//! Names of the metrics that workers expose, with what their labels say.

/// Deliveries handled, by `step` and `outcome` (done, again, later, dead, fatal).
pub const DELIVERIES: &str = "weimocir_deliveries_total";
/// How long a delivery took, by `step`; without what was put off.
pub const DELIVERY_SECONDS: &str = "weimocir_delivery_seconds";
/// Deliveries being worked on, by `step`.
pub const DELIVERIES_IN_WORK: &str = "weimocir_deliveries_in_work";
/// Deliveries that a worker keeps for later, by `step`.
pub const DELIVERIES_KEPT: &str = "weimocir_deliveries_kept";
/// Requests answered, by `service`, `question` and `outcome` (ok, or a refusal's code).
pub const REQUESTS: &str = "weimocir_requests_total";
/// How long a request took, by `service` and `question`.
pub const REQUEST_SECONDS: &str = "weimocir_request_seconds";
/// Images that a store holds, by `collection` and `shard`.
pub const IMAGES: &str = "weimocir_store_images";
/// Images whose captions it holds, by `collection` and `shard`.
pub const CAPTIONED: &str = "weimocir_store_captioned_images";
/// Entries of a shard's log that its store has not read yet, by `collection` and `shard`.
pub const LOG_LAG: &str = "weimocir_store_log_lag";
/// How long the steps of a search took, by `step` (reference, encode, candidates, merge).
pub const SEARCH_STEP_SECONDS: &str = "weimocir_search_step_seconds";
/// Searches whose answer lacks a shard.
pub const PARTIAL_SEARCHES: &str = "weimocir_partial_searches_total";
/// HTTP requests, by `method`, `route` and `status`.
pub const HTTP_REQUESTS: &str = "weimocir_http_requests_total";
/// How long they took until the answer began, by `method` and `route`.
pub const HTTP_REQUEST_SECONDS: &str = "weimocir_http_request_seconds";
/// Work that waits, by `queue`; told by the gateway.
pub const QUEUE_WAITING: &str = "weimocir_queue_waiting";
/// Work that is being done, by `queue`; told by the gateway.
pub const QUEUE_IN_WORK: &str = "weimocir_queue_in_work";
/// Dead letters that wait for a person; told by the gateway.
pub const DEAD_LETTERS: &str = "weimocir_dead_letters";
