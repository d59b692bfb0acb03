//! One property each. The checkers know what a store is for and nothing of how
//! it does it: they see calls, answers, and what a reader of the store sees.

mod agreement;
mod kept;
mod leases;
mod linear;
mod order;

pub use agreement::Agreement;
pub use kept::Kept;
pub use leases::Leases;
pub use linear::{Answer, Call, Linear, Value};
pub use order::Order;
