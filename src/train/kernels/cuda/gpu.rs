//! The GPUs of a machine and which of them can run the kernels, in words. Does not look for them.

use super::super::launch::Fault;

/// What there is to run kernels on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The version of CUDA that the driver knows, as in 13.0.
    pub driver: [u32; 2],
    /// Compute capabilities that there is machine code for, ascending: 80 for 8.0.
    pub built_for: Vec<u32>,
    /// At least one, by ascending index.
    pub gpus: Vec<Gpu>,
}

/// One GPU, as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The N of `cuda:N`: the driver's number, which `CUDA_VISIBLE_DEVICES` changes.
    pub index: usize,
    pub name: String,
    pub memory_bytes: u64,
    /// The compute capability, as in 9.0.
    pub capability: [u32; 2],
}

/// In which form a GPU finds the kernels in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Machine code for this capability.
    Machine(u32),
    /// Text of this capability, which the driver compiles when it loads it.
    Text(u32),
    /// They need what the card has not.
    None,
}

impl Survey {
    /// The GPU of an index, or all without one, as far as they can run the kernels.
    pub fn usable(&self, index: Option<usize>) -> Result<Vec<Gpu>, Fault> {
        let named = |gpu: &&Gpu| index.is_none_or(|index| gpu.index == index);
        let named: Vec<&Gpu> = self.gpus.iter().filter(named).collect();
        let usable = named.iter().filter(|gpu| gpu.form(&self.built_for) != Form::None);
        let usable: Vec<Gpu> = usable.map(|gpu| Gpu::clone(gpu)).collect();
        match (usable.is_empty(), named.first()) {
            (false, _) => Ok(usable),
            (true, Some(gpu)) => Err(gpu.too_old(&self.built_for)),
            (true, None) => Err(self.no_such_gpu()),
        }
    }

    fn no_such_gpu(&self) -> Fault {
        let known = self.gpus.iter().map(|gpu| format!("`cuda:{}`, {}", gpu.index, gpu.name));
        let known = known.collect::<Vec<_>>().join("; ");
        Fault::new(format!("the GPUs here are {known}"))
    }
}

impl Gpu {
    /// How it finds kernels that were compiled for the capabilities `built_for`.
    pub fn form(&self, built_for: &[u32]) -> Form {
        let [major, minor] = self.capability;
        // Machine code runs on every later card of the same generation.
        let runs = |built: &&u32| **built / 10 == major && **built % 10 <= minor;
        match (built_for.iter().rfind(runs), built_for.last()) {
            (Some(built), _) => Form::Machine(*built),
            (None, Some(last)) if 10 * major + minor >= *last => Form::Text(*last),
            _ => Form::None,
        }
    }

    /// What is told of one that cannot run the kernels.
    pub(super) fn too_old(&self, built_for: &[u32]) -> Fault {
        let Gpu { index, name, capability: [major, minor], .. } = self;
        let built = built_for.iter().map(|built| format!("{}.{}", built / 10, built % 10));
        let built = built.collect::<Vec<_>>().join(", ");
        let message = format!(
            "`cuda:{index}`, {name}, has compute capability {major}.{minor}, \
             and the kernels are built for {built} and later"
        );
        Fault::new(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: usize, capability: [u32; 2]) -> Gpu {
        Gpu { index, name: format!("Card {index}"), memory_bytes: 1 << 30, capability }
    }

    #[test]
    fn a_card_takes_the_form_that_fits_it() {
        let form = |capability, built: &[u32]| gpu(0, capability).form(built);
        let built = [80, 90];
        assert_eq!(form([8, 0], &built), Form::Machine(80));
        assert_eq!(form([8, 9], &built), Form::Machine(80));
        assert_eq!(form([9, 0], &built), Form::Machine(90));
        assert_eq!(form([10, 0], &built), Form::Text(90));
        assert_eq!(form([12, 1], &built), Form::Text(90));
        assert_eq!(form([7, 5], &built), Form::None);
        assert_eq!(form([8, 0], &[86]), Form::None);
        assert_eq!(form([9, 0], &[]), Form::None);
    }

    #[test]
    fn a_gpu_that_is_not_there_or_too_old_is_named() {
        let gpus = vec![gpu(0, [7, 5]), gpu(1, [9, 0])];
        let survey = Survey { driver: [13, 0], built_for: vec![80, 90], gpus };
        assert_eq!(survey.usable(None).unwrap(), [survey.gpus[1].clone()]);
        assert_eq!(survey.usable(Some(1)).unwrap(), [survey.gpus[1].clone()]);
        let told = |index| survey.usable(Some(index)).unwrap_err().message;
        assert_eq!(told(2), "the GPUs here are `cuda:0`, Card 0; `cuda:1`, Card 1");
        assert_eq!(
            told(0),
            "`cuda:0`, Card 0, has compute capability 7.5, and the kernels are built for 8.0, 9.0 \
             and later"
        );
    }
}
