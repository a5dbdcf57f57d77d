// SPDX-License-Identifier: LGPL-2.1-or-later
//
// raii: iou.h from C++17, as it is. The instance is freed with its owner, and a callback is any callable: it is kept until the
// op's final completion, and an exception in it ends the run and comes out of it.
#include <iou.h>

#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

class Loop
{
	struct Call {
		Loop *loop;
		iou_op_t *op;
		std::function<void(int result)> then;
	};
	std::exception_ptr thrown;
	std::unique_ptr<iou_t, decltype(&iou_free)> iou; // the last member: while it is freed callbacks still run

	static int call(void *data)
	{
		auto *call = static_cast<Call *>(data);
		std::unique_ptr<Call> over(call->op->flags & IORING_CQE_F_MORE ? nullptr : call);

		try {
			call->then(call->op->result);
			return 0;
		} catch (...) {
			call->loop->thrown = std::current_exception();
			return -ECANCELED;
		}
	}

      public:
	explicit Loop(unsigned entries) : iou(iou_new(entries), iou_free)
	{
		if (!iou)
			throw std::system_error(errno, std::system_category(), "iou_new");
	}

	template <typename Prepare> void queue(Prepare prepare, std::function<void(int)> then)
	{
		auto give_back = [this](iou_op_t *op) { iou_op_free(iou.get(), op); };
		std::unique_ptr<iou_op_t, decltype(give_back)> op(iou_op_new(iou.get()), give_back);

		if (!op)
			throw std::system_error(errno, std::system_category(), "iou_op_new");
		prepare(op->sqe);
		auto *data = new Call{ this, op.get(), std::move(then) };
		iou_op_queue(iou.get(), op.release(), call, data);
	}

	void run()
	{
		int r = iou_run(iou.get());

		if (thrown)
			std::rethrow_exception(std::exchange(thrown, nullptr));
		if (r < 0)
			throw std::system_error(-r, std::system_category(), "iou_run");
	}
};

int main()
{
	struct __kernel_timespec moment = { 0, 1000000 };
	auto prepare = [&](io_uring_sqe *sqe) { io_uring_prep_timeout(sqe, &moment, 0, 0); };
	int n_left = 3;
	Loop loop(8);
	std::function<void(int)> tick = [&](int result) {
		std::cout << n_left << (result == -ETIME ? " to go\n" : "?\n");
		if (--n_left == 0)
			throw std::runtime_error("that was the last one");
		loop.queue(prepare, tick);
	};

	loop.queue(prepare, tick);
	try {
		loop.run();
	} catch (const std::runtime_error &error) {
		std::cout << "caught: " << error.what() << '\n';
	}
}
