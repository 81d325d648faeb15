//! What a hostile guest may list instead of its ring's pages, for trying out those who read the list: with the boot parameter
//! `lies=yes` a guest grants such lists too, and says in XenStore where each begins.
//!
//! | `data/fata/lies/…` | the list |
//! |---|---|
//! | `version` | is of a version to come |
//! | `count` | claims more grants than a page holds |
//! | `cycle` | goes on in the page that it began in |
//! | `refs` | holds numbers of no grants |
//! | `header` | begins with another page than the header page |
//!
//! All grants are good but those of `refs`: what lies is what the pages say.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use fata_wire::grants::{FOLDER, MAX_REFS, VERSION, index_page};

use super::grants::{self, Access, GrantRef};
use super::store;
use super::trace::{AdvertiseError, DOM0, index_pages};
use crate::ring::Page;

/// Where in an index page its version, its count and the grant of the next one stand.
const VERSION_AT: usize = 4;
const COUNT_AT: usize = 8;
const NEXT_AT: usize = 12;
/// A number that no table of grants reaches.
const NO_GRANT: u32 = 4_000_000_000;

/// Makes the lists, from the true one.
pub(super) fn advertise(granted: &[u32]) -> Result<(), AdvertiseError> {
    let mut swapped: Vec<u32> = granted.to_vec();
    swapped.reverse();
    let lists = [
        ("version", changed_page(granted, |page, _| page.word(VERSION_AT).store(VERSION + 1, Ordering::Relaxed))?),
        ("count", changed_page(granted, |page, _| page.word(COUNT_AT).store(u32::MAX, Ordering::Relaxed))?),
        ("cycle", changed_page(granted, |page, own| page.word(NEXT_AT).store(own.0, Ordering::Relaxed))?),
        ("refs", index_pages(&vec![NO_GRANT; granted.len()])?),
        ("header", index_pages(&swapped)?),
    ];
    for (kind, first) in lists {
        store::write(&format!("{FOLDER}/lies/{kind}"), &first.0.to_string()).map_err(AdvertiseError::Store)?;
    }
    Ok(())
}

/// A good first page of the list, to which `change` is then made, which is told the page's own grant.
fn changed_page(granted: &[u32], change: fn(Page, GrantRef)) -> Result<GrantRef, AdvertiseError> {
    let page = Page::new().ok_or(AdvertiseError::NoMemory)?;
    for (at, word) in index_page(&granted[..granted.len().min(MAX_REFS)], None).enumerate() {
        page.word(4 * at).store(word, Ordering::Relaxed);
    }
    let own = grants::grant(DOM0, page.frame(), Access::ReadOnly).map_err(AdvertiseError::Grant)?;
    change(page, own);
    Ok(own)
}
