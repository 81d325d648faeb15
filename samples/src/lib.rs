//! The sample unikernels: hello, http, churn, lost-wakeup.
#![no_std]
