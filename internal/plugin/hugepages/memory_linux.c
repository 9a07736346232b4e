//go:build !noxla

#ifdef __linux__
#include <features.h>
#endif

#ifdef __GLIBC__
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <sys/mman.h>

// A large page of x86-64, and of arm64 with pages of 4 KiB.
enum { huge = 2 << 20 };

// on_huge_pages is glibc's memalign, on large pages where there are two of them or more. Where the system has none to
// give, or is set to give none, its pages are the ordinary ones.
static void* on_huge_pages(size_t alignment, size_t size) {
  if (size < 2 * huge || alignment > huge) return memalign(alignment, size);
  void* p = memalign(huge, size);
  if (p == NULL) return memalign(alignment, size); // the room to align may be what is lacking
  int before = errno;
  madvise(p, size / huge * huge, MADV_HUGEPAGE);
  errno = before;
  return p;
}

// The plugin asks the C library for memory by these two functions, and finds those of the program itself before the
// library's. What they return is the library's own, and free takes it.

void* aligned_alloc(size_t alignment, size_t size) { return on_huge_pages(alignment, size); }

int posix_memalign(void** out, size_t alignment, size_t size) {
  if (alignment == 0 || alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  int before = errno;
  void* p = on_huge_pages(alignment, size);
  errno = before;
  if (p == NULL) return ENOMEM;
  *out = p;
  return 0;
}
#endif
