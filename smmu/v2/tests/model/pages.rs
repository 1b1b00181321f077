//! Operations on pages: map, unmap, other rights, invalidation, and what follows when that fails.

use crate::operations::Part;
use crate::spec::{BLOCK, PAGE, Pages};
use crate::world::{Caches, World, area, vmid};
use smmu_v2::{Error, IpaRange};
use stage2::{Access, Attributes};
use std::collections::BTreeSet;
use std::ops::Range;

fn attributes(access: Access) -> Attributes {
    Attributes {
        access,
        ..Attributes::RAM
    }
}

fn pages_of(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    range.clone().step_by(4096)
}

/// What a change of rights, or without any an unmapping, does to the specification.
struct Plan {
    changed: Vec<u64>,
    /// What stood in everything that is broken on the way, whole blocks included.
    old: Pages,
    gaps: Vec<Range<u64>>,
    split: Vec<u64>,
}

impl World {
    fn part(&self, index: usize, part: Part) -> Range<u64> {
        let (start, size) = area(index, &self.geometry);
        let pages = size / PAGE;
        let first = part.first % pages;
        let count = part.count.min(pages - first);
        start + first * PAGE..start + (first + count) * PAGE
    }

    fn is_stale(&self, space: usize) -> bool {
        self.tables[space].as_ref().unwrap().is_stale()
    }

    pub(crate) fn map(&mut self, space: usize, index: usize, access: Access) {
        let (start, size) = area(index, &self.geometry);
        let range = start..start + size;
        let pa = self.next_pa.next_multiple_of(BLOCK.min(size.next_power_of_two()));
        let free = pages_of(&range).all(|page| !self.spec.borrow().spaces[space].contains_key(&page));
        let fits = free && !self.is_stale(space);
        if fits {
            self.next_pa = pa + size;
            let gaps = vec![range.clone()];
            self.start_moving(Some((space, Pages::new(), gaps)));
            let mut spec = self.spec.borrow_mut();
            for page in pages_of(&range) {
                spec.spaces[space].insert(page, (pa + (page - start), access));
                // What may still be cached of the last owner of the IPA stays so only where nothing was recovered.
                spec.limbo[space].remove(&page);
            }
            if size == BLOCK {
                spec.blocks.insert((space, start));
            }
        }
        let tables = self.tables[space].as_mut().unwrap();
        let result = tables.map(&mut self.machine.memory, start, pa, size, attributes(access));
        self.expect(result.is_ok() == fits, || {
            format!("map: {result:?}, fits: {fits}")
        });
        self.look_at_pages(space, &range);
    }

    /// What is to happen, if the whole range is mapped.
    fn plan(&self, space: usize, range: &Range<u64>, access: Option<Access>) -> Option<Plan> {
        let spec = self.spec.borrow();
        let pages = &spec.spaces[space];
        let mut plan = Plan {
            changed: Vec::new(),
            old: Pages::new(),
            gaps: Vec::new(),
            split: Vec::new(),
        };
        let mut broken = BTreeSet::new();
        for page in pages_of(range) {
            let (_, old) = *pages.get(&page)?;
            if access == Some(old) {
                continue;
            }
            plan.changed.push(page);
            let block = page & !(BLOCK - 1);
            if !spec.blocks.contains(&(space, block)) {
                broken.insert((page, PAGE));
            } else if broken.insert((block, BLOCK)) && !(range.start <= block && block + BLOCK <= range.end) {
                plan.split.push(block);
            }
        }
        for (start, size) in broken {
            let gap = start..start + size;
            let there = pages_of(&gap).filter_map(|page| Some((page, *pages.get(&page)?)));
            plan.old.extend(there);
            plan.gaps.push(gap);
        }
        Some(plan)
    }

    pub(crate) fn change(&mut self, space: usize, index: usize, part: Part, access: Option<Access>) {
        let range = self.part(index, part);
        let plan = self.plan(space, &range, access).filter(|_| !self.is_stale(space));
        let (was_stuck, mapped) = (self.is_stuck(), plan.is_some());
        let needs = plan.as_ref().is_some_and(|plan| !plan.gaps.is_empty());
        let (old, gaps, split) = match plan {
            Some(plan) => {
                self.start_moving(Some((space, plan.old.clone(), plan.gaps.clone())));
                let pages = &mut self.spec.borrow_mut().spaces[space];
                for page in plan.changed {
                    match (access, pages.get_mut(&page)) {
                        (Some(access), Some(found)) => found.1 = access,
                        _ => drop(pages.remove(&page)),
                    }
                }
                (plan.old, plan.gaps, plan.split)
            }
            None => Default::default(),
        };
        let size = range.end - range.start;
        let tables = self.tables[space].as_mut().unwrap();
        let (memory, mut caches) = (&mut self.machine.memory, Caches(&mut self.driver));
        let result = match access {
            Some(access) => tables.protect(memory, &mut caches, range.start, size, attributes(access)),
            None => tables.unmap(memory, &mut caches, range.start, size),
        };
        let expected = mapped && !(needs && was_stuck);
        let surprised = was_stuck != self.is_stuck() && needs;
        self.expect(surprised || result.is_ok() == expected, || {
            format!("change: {result:?}, expected: {expected}")
        });
        let mut spec = self.spec.borrow_mut();
        let gone = access.is_none();
        if needs && result.is_err() {
            // Whatever was broken is gone, and may still be used.
            for page in old.keys() {
                spec.spaces[space].remove(page);
            }
            spec.limbo[space].extend(old);
        }
        for gap in &gaps {
            let whole = split.contains(&gap.start);
            if whole || gone || result.is_err() {
                spec.blocks.remove(&(space, gap.start));
            }
        }
        drop(spec);
        self.look_at_pages(space, &range);
        self.check_settled();
    }

    pub(crate) fn invalidate(&mut self, space: usize, index: usize, part: Part) {
        let range = self.part(index, part);
        let was_stuck = self.is_stuck();
        let whole = part.count == u64::MAX && index == 0;
        let result = self.driver.invalidate(&IpaRange {
            vmid: vmid(space),
            ipa: if whole { 0 } else { range.start },
            size: if whole { 0 } else { range.end - range.start },
        });
        let surprised = was_stuck != self.is_stuck();
        let kind = matches!(result, Ok(()) | Err(Error::Sync(_)));
        self.expect(kind && (surprised || result.is_err() == was_stuck), || {
            format!("invalidate: {result:?}, stuck: {was_stuck}")
        });
    }

    pub(crate) fn recover(&mut self, space: usize) {
        let was_stuck = self.is_stuck();
        let tables = self.tables[space].as_mut().unwrap();
        let result = tables.recover(&mut self.machine.memory, &mut Caches(&mut self.driver));
        let surprised = was_stuck != self.is_stuck();
        self.expect(surprised || result.is_err() == was_stuck, || {
            format!("recover: {result:?}, stuck: {was_stuck}")
        });
        if result.is_ok() {
            self.spec.borrow_mut().limbo[space].clear();
        }
        self.check_settled();
    }

    /// Other tables under the same VMID, as when a guest is started anew. No device may be there.
    pub(crate) fn renew(&mut self, space: usize) {
        if self.unfinished || self.spec.borrow().users(space) != 0 {
            return;
        }
        let was_stuck = self.is_stuck();
        let tables = self.tables[space].take().unwrap();
        let result = tables.destroy(&mut self.machine.memory, &mut Caches(&mut self.driver));
        let surprised = was_stuck != self.is_stuck();
        self.expect(surprised || result.is_err() == was_stuck, || {
            format!("destroy: stuck: {was_stuck}")
        });
        match result {
            Ok(()) => {
                self.make(space);
                let mut spec = self.spec.borrow_mut();
                spec.spaces[space].clear();
                spec.limbo[space].clear();
                spec.blocks.retain(|(owner, _)| *owner != space);
            }
            Err(kept) => self.tables[space] = Some(kept.space),
        }
        self.check_settled();
    }

    /// After any call about pages all devices of the space find exactly what they should.
    fn look_at_pages(&self, space: usize, range: &Range<u64>) {
        let spec = self.spec.borrow();
        let owned = spec.devices.iter().zip(&spec.attached);
        let streams: Vec<u32> = owned
            .filter(|(_, owner)| **owner == Some(space))
            .filter_map(|(streams, _)| streams.first().copied())
            .collect();
        drop(spec);
        let edges = [range.start, range.end - 8, range.end];
        self.look_at(&streams, &edges);
    }
}
