// A CUDA device for a CPU build of torch. Tensors on it have device cuda:0; their bytes are in the host's memory and the
// CPU's kernels compute on them, after the checks that a CUDA build makes. Loaded before torch is (device.py).
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace {
using at::Tensor;
constexpr auto kDevice = c10::DeviceType::CUDA;

// ---- Events: what a test counts. A host wait is reported to Python too, which finds the line that waits.
using Report = void (*)(const char*);
std::mutex events_lock;
std::map<std::string, int64_t> events;
Report report_wait = nullptr;
thread_local bool computing = false;  // copies that a CPU kernel makes for itself are not the program's

void count(const std::string& event) {
  std::lock_guard<std::mutex> guard(events_lock);
  ++events[event];
}

void host_waits(const std::string& what) {
  if (computing) return;
  count("wait " + what);
  if (report_wait) report_wait(what.c_str());
}

// ---- Memory: counted, limited, and never zero at first.
std::atomic<int64_t> held{0}, peak{0}, limit{INT64_MAX};
constexpr int64_t kBlock = 512;  // torch's caching allocator rounds to it

struct Memory final : c10::Allocator {
  struct Block {
    void* data;
    int64_t size;
  };
  static void release(void* context) {
    auto* block = static_cast<Block*>(context);
    held -= block->size;
    std::free(block->data);
    delete block;
  }
  c10::DataPtr allocate(size_t bytes) override {
    const int64_t size = (static_cast<int64_t>(bytes) + kBlock - 1) / kBlock * kBlock;
    TORCH_CHECK_WITH(OutOfMemoryError, held + size <= limit, "CUDA out of memory. Tried to allocate ", bytes, " bytes.");
    void* data = nullptr;
    if (size) {
      if (posix_memalign(&data, kBlock, size)) throw std::bad_alloc();
      std::memset(data, 0xFF, size);  // NaN in every float format
    }
    const int64_t now = held += size;
    for (int64_t before = peak; now > before && !peak.compare_exchange_weak(before, now);) {
    }
    return {data, new Block{data, size}, &release, c10::Device(kDevice, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;

// ---- What torch asks of a device: one of it, one stream, everything done at once.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<kDevice> {
  static constexpr c10::DeviceType static_type = kDevice;
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, c10::Device(kDevice, 0)); }
  c10::Device exchangeDevice(c10::Device) const override { return {kDevice, 0}; }
  c10::Device getDevice() const override { return {kDevice, 0}; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex current_device() const override { return 0; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  int getNumGPUs() const override { return 1; }
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetAllocator(c10::DeviceType::CPU); }
  at::Device getDeviceFromPtr(void*) const override { return {kDevice, 0}; }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};

// ---- Operators. `host` is a CPU tensor on the same bytes.
Tensor host(const Tensor& tensor) {
  if (tensor.device().type() == c10::DeviceType::CPU) return tensor;
  void* data = tensor.storage().nbytes() ? tensor.mutable_data_ptr() : nullptr;
  auto options = tensor.options().device(at::kCPU).requires_grad(false);
  Tensor view = at::from_blob(data, tensor.sizes(), tensor.strides(), [](void*) {}, options);
  return tensor.is_conj() ? view.conj() : view;
}

Tensor on_device(const Tensor& computed, const Tensor& like) {
  Tensor out = at::empty(computed.sizes(), like.options());
  host(out).copy_(computed);
  return out;
}

bool is_index(const std::string& name) {
  return name.rfind("aten::index", 0) == 0 || name.rfind("aten::_index_put", 0) == 0 ||
         name.rfind("aten::_unsafe_index", 0) == 0;
}

const std::set<std::string> kProducts{"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::mv", "aten::addmv"};
const std::set<std::string> kSizedByValues{"aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim",
                                           "aten::repeat_interleave", "aten::bincount", "aten::equal"};

// Raise what a CUDA build raises, and count where the host would have to wait for the device.
void check(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const std::string& name = op.schema().name();
  const auto values = torch::jit::last(*stack, arguments.size());
  bool device = false, integers = false;
  std::string mixed;
  auto look = [&](const Tensor& tensor, const std::string& argument) {
    if (!tensor.defined()) return;
    const bool indices = is_index(name) && argument == "indices";
    if (tensor.device().type() == kDevice) {
      device = true;
      integers |= at::isIntegralType(tensor.scalar_type(), true);
      if (indices && tensor.scalar_type() == at::kBool) host_waits("index by a mask");
    } else if (indices) {
      host_waits("index from the host");  // torch copies it to the device
    } else if (tensor.dim() || tensor.device().type() != c10::DeviceType::CPU) {
      mixed = argument;  // a CPU tensor of no dimension is a number
    }
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& value = values[i];
    const std::string& argument = arguments[i].name();
    if (value.isTensor()) look(value.toTensor(), argument);
    if (value.isTensorList()) for (const Tensor& one : value.toTensorList()) look(one, argument);
    if (value.isOptionalTensorList())
      for (std::optional<Tensor> one : value.toOptionalTensorList()) if (one) look(*one, argument);
    if (value.isGenerator() && value.toGenerator().defined())
      TORCH_CHECK(value.toGenerator().device().type() == kDevice,
                  "Expected a 'cuda' device type for generator but found 'cpu' (", name, ")");
  }
  TORCH_CHECK(!device || mixed.empty(), "Expected all tensors to be on the same device, but found at least two devices, ",
              "cuda:0 and cpu! (argument ", mixed, " of ", name, ")");
  TORCH_CHECK_NOT_IMPLEMENTED(!integers || !kProducts.count(name), "\"", name, "\" not implemented on CUDA for integers");
  if (kSizedByValues.count(name)) host_waits(name);
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  check(op, stack);
  const bool before = computing;
  computing = true;
  try {
    at::native::cpu_fallback(op, stack);
  } catch (...) {
    computing = before;
    throw;
  }
  computing = before;
}

Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_generic(size, &memory, keys, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_strided_generic(size, stride, &memory, keys, c10::dtype_or_default(dtype));
}

Tensor& copy_(Tensor& to, const Tensor& from, bool non_blocking) {
  if (to.device().type() == c10::DeviceType::CPU) {
    if (non_blocking) count("unsafe: read before it is written");
    host_waits("copy to the host");
  }
  if (from.device().type() == c10::DeviceType::CPU && !computing) count("copy to the device");
  at::AutoDispatchBelowAutograd below;
  if (to.numel()) host(to).copy_(host(from));
  return to;
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  Tensor written = to;
  copy_(written, from, non_blocking);
  return to;
}

const Tensor& resize_(const Tensor& tensor, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* impl = tensor.unsafeGetTensorImpl();
  const int64_t numbers = c10::multiply_integers(size) + impl->storage_offset();
  const int64_t bytes = numbers * static_cast<int64_t>(tensor.itemsize());
  const auto& storage = tensor.storage();
  if (static_cast<int64_t>(storage.nbytes()) < bytes) {
    auto grown = memory.allocate(bytes);
    if (storage.nbytes()) std::memcpy(grown.get(), storage.data(), storage.nbytes());
    storage.set_data_ptr_noswap(std::move(grown));
    storage.set_nbytes(bytes);
  }
  impl->set_sizes_contiguous(size);
  return tensor;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  if (to.sizes() != from.sizes()) resize_(to, from.sizes(), std::nullopt);
  if (from.numel()) host(to).copy_(host(from));
  return to;
}

at::Scalar item(const Tensor& tensor) {
  host_waits("item");
  return at::_local_scalar_dense(host(tensor));
}

Tensor& set_(Tensor& tensor, at::Storage storage, int64_t offset, at::IntArrayRef size, at::IntArrayRef stride) {
  tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, offset);
  return tensor;
}

Tensor& set_tensor(Tensor& tensor, const Tensor& source) {
  return set_(tensor, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

Tensor& set_storage(Tensor& tensor, at::Storage storage) {
  const int64_t size = static_cast<int64_t>(storage.nbytes() / tensor.itemsize()), one = 1;
  return set_(tensor, std::move(storage), 0, {&size, 1}, {&one, 1});
}

Tensor view(const Tensor& tensor, c10::SymIntArrayRef size) { return at::native::view(tensor, C10_AS_INTARRAYREF_SLOW(size)); }

// ---- Attention as a card before Hopper chooses it: the memory-efficient kernel for a mask, else flash.
int64_t choose_attention(const Tensor& query, const Tensor&, const Tensor&, const std::optional<Tensor>& mask, double, bool,
                         std::optional<double>, bool grouped) {
  const bool masked = mask && mask->defined();
  const bool efficient = masked && !grouped && query.scalar_type() != at::kDouble;
  count(efficient ? "attention: memory-efficient" : masked ? "attention: math, masked" : "attention: flash or math, no mask");
  return static_cast<int64_t>(efficient ? at::SDPBackend::efficient_attention : at::SDPBackend::math);
}

Tensor probabilities(const Tensor& query, const Tensor& key, const std::optional<Tensor>& bias, bool causal, double scale) {
  Tensor scores = at::matmul(host(query).to(at::kFloat), host(key).to(at::kFloat).transpose(-2, -1)) * scale;
  if (bias && bias->defined()) scores = scores + host(*bias).to(at::kFloat);
  if (causal) {
    const auto seen = at::ones({scores.size(-2), scores.size(-1)}, at::kBool).tril();
    scores = scores.masked_fill(seen.logical_not(), -std::numeric_limits<float>::infinity());
  }
  return at::_safe_softmax(scores, -1, std::nullopt);  // a query that sees nothing gives zeros
}

double scale_of(const Tensor& query, std::optional<double> scale) { return scale ? *scale : 1.0 / std::sqrt(query.size(-1)); }

std::tuple<Tensor, Tensor, Tensor, Tensor> efficient(const Tensor& query, const Tensor& key, const Tensor& value,
                                                     const std::optional<Tensor>& bias, bool log_sums, double, bool causal,
                                                     std::optional<double> scale) {
  at::NoGradGuard no_grad;
  const Tensor weights = probabilities(query, key, bias, causal, scale_of(query, scale));
  const Tensor out = on_device(at::matmul(weights, host(value).to(at::kFloat)), query);
  const int64_t rows = log_sums ? (query.size(2) + 31) / 32 * 32 : 0;  // CUDA's kernel pads them
  const Tensor sums = at::empty({query.size(0), query.size(1), rows}, query.options().dtype(at::kFloat));
  const Tensor seed = at::zeros({}, at::kLong);
  return {out, sums, seed, seed.clone()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> efficient_backward(const Tensor& gradient, const Tensor& query, const Tensor& key,
                                                              const Tensor& value, const Tensor& bias, const Tensor&,
                                                              const Tensor&, const Tensor&, const Tensor&, double,
                                                              std::array<bool, 4>, bool causal, std::optional<double> scale) {
  at::NoGradGuard no_grad;
  const double factor = scale_of(query, scale);
  const Tensor weights = probabilities(query, key, bias, causal, factor);
  const Tensor above = host(gradient).to(at::kFloat);
  const Tensor to_weights = at::matmul(above, host(value).to(at::kFloat).transpose(-2, -1));
  const Tensor to_scores = weights * (to_weights - (to_weights * weights).sum(-1, true)) * factor;
  return {on_device(at::matmul(to_scores, host(key).to(at::kFloat)), query),
          on_device(at::matmul(to_scores.transpose(-2, -1), host(query).to(at::kFloat)), key),
          on_device(at::matmul(weights.transpose(-2, -1), above), value), Tensor()};
}

struct Register {
  Register() {
    c10::SetAllocator(kDevice, &memory);
    at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&choose_attention);
  }
} registered;
}  // namespace

C10_REGISTER_GUARD_IMPL(CUDA, Guard)
namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, ::Hooks)
}

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("unfold", at::native::unfold);
  library.impl("resize_", resize_);
  library.impl("copy_", copy_);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", item);
  library.impl("set_.source_Storage_storage_offset", set_);
  library.impl("set_.source_Tensor", set_tensor);
  library.impl("set_.source_Storage", set_storage);
  library.impl("_scaled_dot_product_efficient_attention", efficient);
  library.impl("_scaled_dot_product_efficient_attention_backward", efficient_backward);
}

extern "C" {
int64_t fake_held() { return held; }
int64_t fake_peak() { return peak; }
void fake_reset_peak() { peak = held.load(); }
void fake_set_limit(int64_t bytes) { limit = bytes; }
void fake_on_wait(Report report) { report_wait = report; }
void fake_clear() {
  std::lock_guard<std::mutex> guard(events_lock);
  events.clear();
}
// Write "event\tcount\n" lines into a buffer; gives the bytes that all of them take.
int64_t fake_events(char* buffer, int64_t size) {
  std::lock_guard<std::mutex> guard(events_lock);
  std::string text;
  for (const auto& [event, times] : events) text += event + "\t" + std::to_string(times) + "\n";
  std::strncpy(buffer, text.c_str(), size);
  return static_cast<int64_t>(text.size());
}
}
